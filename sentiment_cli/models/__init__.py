"""The networks: embedding, recurrent encoder, pooling, output."""
