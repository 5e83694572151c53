"""Multi-token prediction: what a module sees, what it predicts, and what its loss reaches."""

import pytest
import torch
import torch.nn.functional as F

from ponder.models.config import ModelConfig
from ponder.models.transformer import MtpModule, Transformer
from small_models import random_ids, random_model, small_dense, small_v3


def modules_of(model: Transformer) -> list[MtpModule]:
    return [module for module in model.mtp if isinstance(module, MtpModule)]


@torch.no_grad()
def test_entry_t_sees_tokens_up_to_t_plus_k() -> None:
    """Changing the token at position 6 first shows in module k's entry 6 - k."""
    model = random_model(small_v3(mtp_depth=2))
    ids_BT = random_ids(1, 12)
    changed = ids_BT.clone()
    changed[0, 6] = (ids_BT[0, 6] + 1) % 299
    before = model.mtp_hidden(model(ids_BT), ids_BT)
    after = model.mtp_hidden(model(changed), changed)
    assert [state.shape for state in before] == [(1, 11, 48), (1, 10, 48)]
    for k in (1, 2):
        difference_T = (after[k - 1] - before[k - 1]).abs().amax(dim=-1)[0]
        assert difference_T[: 6 - k].max() < 1e-6
        assert difference_T[6 - k] > 1e-3


@torch.no_grad()
def test_module_predicts_the_token_after_the_one_it_is_given() -> None:
    """A module made by hand to say "the successor of the token that I am given".

    Entry t of module k must be given the token at t+k, so that it names the token at t+k+1 of a sequence that
    counts up.
    """
    config = small_v3(vocab_size=48, hidden_size=48, mtp_depth=2)
    model = Transformer(config, torch.Generator().manual_seed(0))
    model.embedding.weight.copy_(torch.eye(48))
    model.head.weight.copy_(torch.eye(48).roll(1, dims=0))  # row v answers to the state of token v - 1
    for module in modules_of(model):
        module.project.weight.copy_(torch.cat((torch.eye(48), torch.zeros(48, 48)), dim=1))  # the embedding's half
        for name, parameter in module.block.named_parameters():
            if name.endswith(("attention.o.weight", "down", "down.weight")):
                parameter.zero_()  # the block passes on what it is given
    ids_BT = (torch.arange(20) + 40)[None] % 48
    for k, state in enumerate(model.mtp_hidden(model(ids_BT), ids_BT), start=1):
        predicted = model.head(state).argmax(dim=-1)
        assert predicted[:, :-1].tolist() == ids_BT[:, k + 1 :].tolist()


@torch.no_grad()
def test_module_joins_embedding_and_state_in_this_order() -> None:
    """With the other half of the projection it repeats the main model's state, position by position."""
    model = random_model(small_v3(mtp_depth=1))
    (module,) = modules_of(model)
    module.project.weight.copy_(torch.cat((torch.zeros(48, 48), torch.eye(48)), dim=1))
    for name, parameter in module.block.named_parameters():
        if name.endswith(("attention.o.weight", "down", "down.weight")):
            parameter.zero_()
    ids_BT = random_ids(2, 9)
    hidden = model(ids_BT)
    (state,) = model.mtp_hidden(hidden, ids_BT)
    expected = module.norm(module.hidden_norm(hidden[:, :-1]))
    torch.testing.assert_close(state, expected, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("config", [small_v3(mtp_depth=2), small_dense(mtp_depth=1)], ids=["experts", "dense"])
def test_gradient_reaches_modules_and_main_model(config: ModelConfig) -> None:
    model = random_model(config)
    ids_BT = random_ids(4, 30)
    loss = torch.tensor(0.0)
    for k, state in enumerate(model.mtp_hidden(model(ids_BT), ids_BT), start=1):
        logits = model.head(state[:, :-1]).flatten(0, 1)
        loss = loss + F.cross_entropy(logits, ids_BT[:, k + 1 :].flatten())
    loss.backward()
    untouched = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert untouched == []


def test_a_main_loss_leaves_the_modules_alone() -> None:
    model = random_model(small_v3(mtp_depth=1))
    model(random_ids(2, 9)).square().sum().backward()
    assert all(p.grad is None for p in model.mtp.parameters())
