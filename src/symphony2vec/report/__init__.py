"""Every table and figure of the study on one page."""
