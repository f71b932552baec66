"""The broker: sending signed messages over Redis or RabbitMQ, and keeping dead letters."""
