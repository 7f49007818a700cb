"""How well items do that training never saw: some are held out, the model is trained on the rest, they are added by their texts alone,
and the users whose last item is one of them are asked for it."""
