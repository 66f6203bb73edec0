"""What may go into a training beside its loss: averaged weights, blended images, features, a pull on scales."""
