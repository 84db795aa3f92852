"""The option-butterfly line: samples, analyses, features, labels, training set, models."""
