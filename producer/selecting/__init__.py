"""Which of a job's rows ``results`` shows, and in which order."""
