"""Jobs that were accepted: flows on TaskFlow's engines, workers, schedules, notifications."""
