"""75 % in little time on two CPU cores, evaluation included: `pocket`, wider and longer.

    residua train sprint

Cost: 16 epochs of 50,000 images that grow from 16 to 32 pixels. Meant for processors with bfloat16
arithmetic (AVX512-BF16, AMX).
Expected: 75.10 ± 0.28 % (three seeds; with mirror images only 74.67 ± 0.21 %, without test-time
augmentation 73.62 ± 0.25 %) in 1588 ± 58 seconds: records/2026-11-21-sprint. Not run on a GPU.

`pocket` with a third more channels in its last two stages, 16 epochs instead of 9 and crops padded
by 3 pixels. Chosen on 5,000 held-out training images; records/LOG.md lists what was tried.
"""

from residua.augment import AlternatingFlip, Crop
from residua.recipes.built_in import pocket
from residua.schedules import Phases

recipe = pocket.recipe.replace(
    name="sprint",
    augmentation=(Crop(padding=3, mode="reflect"), AlternatingFlip()),
    image_size=Phases(boundaries=(1, 5, 10, 13), values=(16, 20, 24, 28, 32)),
    architecture=pocket.recipe.architecture.replace(widths=(64, 256, 512), head_init_std=1 / 512),
    epochs=16,
    evaluate_every=16,
)
