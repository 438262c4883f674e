"""An update of ALI on a GPU: eager, recorded as a CUDA graph and compiled, beside the plain reference; its losses."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import gpu_work
from gpu_work import Work, elapsed_ms, in_turns, measure_ceilings, spread, tf32

AIM = 10.0  # speed-up over the plain eager update


def measure_ali(work: Work) -> None:
    """Compare the losses of 200 updates, then measure the speed of an update for each batch size."""
    ceilings = measure_ceilings(work)
    work.attempt("comparison of losses", lambda: compare_losses(work))
    share_s = work.left_s / len(work.size.crops)
    for number, crops in enumerate(work.size.crops):
        measure_updates(crops, ceilings, work, reserve_s=share_s * (len(work.size.crops) - 1 - number))


def measure_updates(crops: int, ceilings: dict[str, float], work: Work, reserve_s: float) -> None:
    """Measure every variant of an update at one batch size; leave `reserve_s` seconds to the other batch sizes."""
    import ali

    latent, device = work.size.latent, work.device
    values = ali.sample_inputs(crops, latent, device)
    plain = ali.Plain(latent, device)
    steps: dict[str, Callable[[], object]] = {
        "plain, all networks again": lambda: plain.step(*values),
        "plain, only D again": lambda: plain.step(*values, again=False),
    }
    for name, recorded, compiler in variants(device):
        if compiler and work.left_s - reserve_s < gpu_work.COMPILING_S:
            work.sheet.note(f"{name}, {crops} crops: skipped, no time to compile")
            continue

        def create(recorded: bool = recorded, compiler: str = compiler) -> Callable[[], object]:
            step = create_step(ali.game(latent, device), values, recorded, compiler)
            step()  # compiles
            return step

        step = work.attempt(f"{name}, {crops} crops", create)
        if step is not None:
            steps[name] = step
    for variant in steps.values():
        elapsed_ms(variant, min(3, work.size.updates), device)
    times_ms = in_turns(steps, work.size.updates, work, reserve_s)
    plain_ms = times_ms["plain, all networks again"]
    flop = crops * ali.operations(latent)
    for name, step_ms in times_ms.items():
        rate = flop / (min(step_ms) / 1e3)
        is_counted = name.startswith("ours")  # the plain update computes more
        cells = {
            "crops": crops,
            "update": name,
            "ms": spread(step_ms),
            "crops/s": f"{1e3 * crops / statistics.median(step_ms):.0f}",
            "speed-up over plain": spread([p / o for p, o in zip(plain_ms, step_ms, strict=True)]),
            "TFLOP/s": f"{rate / 1e12:.3g}" if is_counted else "",
        }
        for ceiling in ("matrix product, TF32", "convolution, TF32", "matrix product, float32"):
            if ceiling in ceilings:
                cells[f"% of {ceiling}"] = f"{100.0 * rate / ceilings[ceiling]:.3g}" if is_counted else ""
        work.sheet.row("ALI's update", cells)
    fastest = min(times_ms, key=lambda name: statistics.median(times_ms[name]))
    ratio = statistics.median([p / o for p, o in zip(plain_ms, times_ms[fastest], strict=True)])
    verdict = "reached" if ratio >= AIM else "not reached"
    work.sheet.note(
        f"{crops} crops: '{fastest}' is the fastest, {ratio:.1f} times as fast as plain; "
        f"the aim of {AIM:g} is {verdict}"
    )


def variants(device: torch.device) -> list[tuple[str, bool, str]]:
    """Variants of our update: name, whether it is recorded as a CUDA graph, and the compiler."""
    eager = [("ours, eager", False, "")]
    if device.type != "cuda":
        return eager
    return [
        *eager,
        ("ours, recorded", True, ""),
        ("ours, compiled and recorded", True, "inductor"),
        ("ours, compiled", False, "inductor"),
    ]


def create_step(
    game: Any, values: tuple[Tensor, ...], recorded: bool, compiler: str
) -> Callable[[], dict[str, Tensor]]:
    """An update of a game on values that lie on the device; if recorded, each call overwrites the last losses."""
    from symphony2vec.models.ali.losses import Game
    from symphony2vec.models.ali.recorded import WARM_UP, CudaGraph

    if compiler:
        group = game.generator_optimiser.param_groups[0]
        rate, betas = group["lr"], group["betas"]
        game = Game(game.encoder, game.generator, game.discriminator, rate, rate, betas, compiler=compiler)
    if not recorded:
        return lambda: game.step(*values)
    graph = CudaGraph(game, [])
    for _ in range(WARM_UP):
        losses = graph.run(lambda: game.step(*values))
    replay = graph.record(lambda: torch.stack([*game.step(*values).values()]))
    return lambda: dict(zip(losses, replay().unbind(), strict=True))


def compare_losses(work: Work) -> None:
    """Differences of the losses of 200 float32 updates from the same weights and crops, without dropout.

    The adversarial game amplifies rounding errors; the difference from double precision shows how much.
    """
    import ali

    latent, device, crops = work.size.latent, work.device, work.size.crops[0]

    def curve(step: Callable[..., dict[str, Tensor]], dtype: torch.dtype = torch.float32) -> Tensor:
        losses = []
        for number in range(work.size.loss_updates):
            update = step(*(value.to(dtype) for value in ali.sample_inputs(crops, latent, device, number)))
            losses.append(torch.stack([update["discriminator_loss"], update["generator_loss"]]).double())
        return torch.stack(losses, dim=1).cpu()

    def create_game(dtype: torch.dtype = torch.float32) -> Any:
        return ali.game(latent, device, dtype, dropout=0.0)

    curves = {
        "the same again": lambda: curve(create_game().step),
        "plain": lambda: curve(ali.plain(latent, device, torch.float32).step),
        "ours in double precision": lambda: curve(create_game(torch.float64).step, torch.float64),
    }
    if device.type == "cuda":
        inputs = tuple(value.clone() for value in ali.sample_inputs(crops, latent, device))
        curves["ours, recorded"] = lambda: curve(create_recorded(create_game(), inputs))
    with tf32(False):
        eager = curve(create_game().step)
        others = {name: work.attempt(f"losses of {name}", create) for name, create in curves.items()}
    for name, other in others.items():
        if other is not None:
            difference = (eager - other).abs()
            cells = {
                "ours, eager, against": name,
                f"{ali.EARLY} updates": f"{difference[:, : ali.EARLY].max().item():.1e}",
                f"{work.size.loss_updates} updates": f"{difference.max().item():.1e}",
                "of the mean loss": f"{(eager - other).mean(dim=1).abs().max().item():.1e}",
            }
            work.sheet.row(f"Largest difference of losses in float32, {crops} crops", cells)


def create_recorded(game: Any, inputs: tuple[Tensor, ...]) -> Callable[..., dict[str, Tensor]]:
    """A recorded update of a game, which starts from the weights that the game has now."""
    networks = (game.encoder, game.generator, game.discriminator)
    weights = [{key: value.clone() for key, value in network.state_dict().items()} for network in networks]
    replay = create_step(game, inputs, recorded=True, compiler="")
    for network, state in zip(networks, weights, strict=True):
        network.load_state_dict(state)
    reset_moments(game)

    def step(*values: Tensor) -> dict[str, Tensor]:
        for target, value in zip(inputs, values, strict=True):
            target.copy_(value)
        return replay()

    return step


def reset_moments(game: Any) -> None:
    """Reset both optimisers in place: a recorded graph keeps using the same memory."""
    for optimiser in (game.discriminator_optimiser, game.generator_optimiser):
        for state in optimiser.state.values():
            for value in state.values():
                value.zero_()
