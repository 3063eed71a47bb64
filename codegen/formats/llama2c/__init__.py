"""The files of llama2.c: model.bin and tokenizer.bin."""
