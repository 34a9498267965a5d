"""Node definitions as plain data: their format, their releases, and other formats that are imported."""
