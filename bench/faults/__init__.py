"""The same faults against celery beat, RedBeat and offbeat; `python -m bench.faults` writes the table of the README."""
