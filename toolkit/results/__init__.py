"""Results as frozen records, and the file and schema that they are kept in."""
