"""What a stage depends on, and how far it has come."""

_TRAINING = ("seed", "learner", "weight_decay", "clip_grad_norm", "enable_amp", "enable_scaler", "average_decay", "learning_rate_decay",
             "eval_step", "valid_metric", "eval_args", "metrics", "topk",
             "metric_decimal_place",  # a metric is rounded before it is compared
             "MAX_ITEM_LIST_LENGTH", "window_stride", "train_batch_size", "hidden_size", "n_layers", "n_heads", "inner_size",
             "hidden_dropout_prob", "attn_dropout_prob")

VERSIONS = {"alignment": 8, "quantization": 8, "generation": 9}  # raised when a change makes the artifacts of before wrong

# The settings that each stage reads itself; those of the stages before are in the key that it is given of them.
_QUANTIZATION = ("quantizer", "rqvae_epochs", "n_levels", "codebook_size", "seed")

PROREC_SETTINGS = {
    "alignment": (*_TRAINING, "history_sum", "exclude_seen", "alignment_input", "alignment_weight", "alignment_temperature",
                  "text_whitening", "text_dropout_prob", "collaborative_dropout_prob", "alignment_epochs", "alignment_learning_rate",
                  "alignment_stopping_step"),
    "quantization": _QUANTIZATION,
    "generation": (*_TRAINING, "history_sum", "exclude_seen", "decoder_size", "decoder_layers", "decoder_heads", "decoder_inner_size",
                   "decoder_dropout_prob", "distillation_weight", "beam_size", "epochs", "learning_rate", "warm_learning_rate",
                   "stopping_step"),
}

TIGER_SETTINGS = {
    "quantization": _QUANTIZATION,
    "generation": (*_TRAINING, "backbone", "head_size", "decoder_layers", "decoder_dropout_prob", "beam_size", "epochs",
                   "learning_rate", "stopping_step"),
}


def progress_of(trainer, epoch, is_finished):
    """Everything that a stage's remaining epochs depend on; of a finished stage only its best epoch's."""
    kept = {"epoch": epoch, "finished": is_finished, "curve": trainer.curve, "best_epoch": trainer.best_epoch,
            "best_state": trainer.best_state, "best_optimizer": trainer.best_optimizer,
            "best_valid_score": float(trainer.best_valid_score), "cur_step": int(trainer.cur_step),
            "best_valid_result": trainer.best_valid_result and {name: float(value) for name, value in trainer.best_valid_result.items()}}
    if not is_finished:
        kept["state"], kept["optimizer"] = trainer.stage_state(), trainer.optimizer.state_dict()
        kept["average"] = trainer.average.state_dict()
    return kept


def restore(trainer, progress):
    """The inverse of `progress_of`."""
    for name in ("best_epoch", "best_state", "best_valid_score", "best_valid_result", "cur_step"):
        setattr(trainer, name, progress[name])
    trainer.best_optimizer = progress.get("best_optimizer")  # what an earlier version kept has none
    trainer.start_epoch = progress["epoch"] + 1
    trainer.curve[:] = progress["curve"]  # the model holds the very list
    if not progress["finished"]:
        trainer.model.load_state_dict(progress["state"], strict=False)
        trainer.optimizer.load_state_dict(progress["optimizer"])
        trainer.average.load_state_dict(progress["average"])


def finished(trainer, epoch):
    """Whether RecBole's fit stops after this epoch."""
    return trainer.cur_step > trainer.stopping_step or epoch + 1 >= trainer.epochs
