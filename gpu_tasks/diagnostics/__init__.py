"""What a diagnostic measures of a device."""
