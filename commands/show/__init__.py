"""What commands print: text, tables, boards and pictures. No command logic."""
