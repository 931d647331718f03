"""Read labelled examples: picture files, folders of classes, Parquet files. All commands use the same readers."""
