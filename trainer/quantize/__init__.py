"""Quantising with calibration or training: GPTQ, distillation, the choice of bits; and what each costs, measured."""
