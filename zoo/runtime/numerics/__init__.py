"""The executions of int8 that exporters pass: each in the operators of another runtime."""
