"""Operations that are about the service as a whole, or mostly for operators."""
