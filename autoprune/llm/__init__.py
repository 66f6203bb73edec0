"""Language models: loaded from files, pruned, recovered, judged by their perplexity on two domains of text."""
