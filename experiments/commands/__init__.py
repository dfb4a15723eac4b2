"""The commands of the command line: what each reads, checks, runs and writes."""
