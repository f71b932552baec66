"""Where a job's items come from: a bucket, a folder that is uploaded, the failed rows of a job."""
