"""What the processes of the benchmark do."""

from embeddings.encoders import EncoderUnavailable

NOT_INSTALLED = (EncoderUnavailable,)
