"""Where weights come from: files that rebuild themselves, and the names other libraries give to tensors."""
