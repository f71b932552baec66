"""The names of the columns that every result table has, apart from anything slow to import."""

# In their order. Those of a pipeline's analyses come between ``warning`` and ``models``.
FIRST_COLUMNS = (
    *("job_id", "key", "frame", "etag", "size", "width", "height", "status"),
    *("error_code", "error_message", "pipeline", "model", "model_version", "engine"),
    *("label", "score", "predictions", "warning", "uri", "name", "class_index", "scored_at"),
)
# Of the long form alone.
MODELS_COLUMN = "models"
FIXED_COLUMNS = frozenset((*FIRST_COLUMNS, MODELS_COLUMN))
