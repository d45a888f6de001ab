"""Help with hyper-parameters: advice, range test, scaling."""
