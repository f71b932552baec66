"""What looks at a stack and says what is wrong: checks, a probe image, and what stands still."""
