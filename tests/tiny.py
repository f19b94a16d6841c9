"""Settings that make a training take a second."""

TINY = [
    "data.crop_size=[16,32,32]",
    "data.crops_per_step=2",
    "data.steps_per_epoch=2",
    "data.num_workers=0",
    "model.channels=[4,8]",
    "model.strides=[2]",
    "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "predictor.window_size=null",
    "predictor.num_sides=1",
    "tomo_types=[denoised]",
]
