"""Commands that compare one archive in several ways on one server, outside a report."""
