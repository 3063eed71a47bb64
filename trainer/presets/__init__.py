"""One TOML file a preset: settings to build on, by the size of the model."""
