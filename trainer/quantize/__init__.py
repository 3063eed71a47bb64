"""Quantising with calibration or training: GPTQ, distillation, the choice of bits; and measuring the loss of each."""
