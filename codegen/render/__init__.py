"""From words to the text of every generated file; the stages in their order."""
