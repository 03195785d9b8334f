"""Load generation: payloads, schedules, generator processes, and a row for each request."""
