"""The models: cells, layers, and the classifiers, language models and sequence models built from them."""
