"""`davae convert` of stage 2, `davae merge` and `davae inspect` of what they make, with good input and bad."""

import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from davae_core.cli.commands import main
from davae_core.codec.autoencoder import CodecConfig, DetailAlignedVAE
from davae_core.codec.blocks import KLConfig
from davae_core.codec.files import load_codec, save_codec
from davae_core.codec.latent_files import encoding_hash
from davae_core.mini import davae_path
from davae_core.presets import SD3
from davae_core.published.adapter import convert_adapter
from davae_core.transformer.adapter import read_adapter
from davae_core.transformer.description import DESCRIPTION, Advice, read_file_description
from davae_core.transformer.merging import merge
from davae_core.transformer.pretrained import load_transformer
from tests.davae_core.cli.test_bad_input import OLD, room_for

STEP, LORA, BASE = "step_4321.pt", "pytorch_lora_weights.safetensors", "base.safetensors"


@pytest.fixture
def folder(golden, tmp_path):
    """The published stage-2 files and their base, where tests may change them."""
    shutil.copytree(golden / "transformer", tmp_path / "in")
    return tmp_path / "in"


@pytest.fixture
def adapter(folder, tmp_path, capsys):
    path = tmp_path / "davae_adapter.safetensors"
    assert main(convert(folder, path)) == 0
    capsys.readouterr()
    return path


@pytest.fixture
def vae(tmp_path):
    """A small DA-VAE of SD3's layout."""
    torch.manual_seed(0)
    backbone = KLConfig(widths=(8, 16, 16, 16), res_blocks=1, norm_groups=4)
    path = tmp_path / "davae_sd3.safetensors"
    save_codec(path, DetailAlignedVAE(CodecConfig(SD3.layout, backbone)))
    return path


def convert(folder, output, *rest):
    live = ["--weights", "live", "--lora", folder / LORA, "--base", folder / BASE]
    return [*map(str, ["convert", folder / STEP, "-o", output, *(rest or live)])]


@pytest.fixture
def fails(tmp_path, capsys):
    """Run a command whose `-o` exists already; returns its one sentence."""

    def run(command):
        output = tmp_path / command[command.index("-o") + 1]
        output.write_bytes(OLD)
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        code = main([str(part) for part in command])
        out, err = capsys.readouterr()
        assert code == 1
        assert out == "" and err.count("\n") == 1
        assert err.startswith("davae: ") and err.endswith(".\n") and "Traceback" not in err
        assert output.read_bytes() == OLD
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return run


@pytest.mark.parametrize("weights", ["live", "ema"])
def test_convert_makes_an_adapter_of_stage_2(weights, folder, vae, tmp_path, capsys):
    path = tmp_path / "adapter.safetensors"
    lora = ["--lora", folder / LORA] if weights == "live" else []
    options = ["--weights", weights, *lora, "--base", folder / BASE, "--vae", vae]
    assert main(convert(folder, path, *options, "--sizes", 1024, 2048)) == 0
    assert "adapter.safetensors is a DA-VAE adapter" in capsys.readouterr().out
    base = load_transformer(folder / BASE)
    wanted = convert_adapter(folder / STEP, base, weights, lora[1] if lora else None)
    found = read_adapter(path)
    for part in ("lora", "edges"):
        ours, theirs = getattr(found, part), getattr(wanted, part)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert found.advice == Advice(sizes=(1024, 2048))
    named = {"base_name": BASE, "vae": encoding_hash(vae)}
    assert found.parents == {**wanted.parents, **named}


@pytest.mark.parametrize("dtype", [None, "float32", "float16", "bfloat16", "fp8_e4m3fn"])
def test_merge_writes_the_widened_model(dtype, folder, adapter, tmp_path, capsys):
    path = tmp_path / "merged.safetensors"
    options = [] if dtype is None else ["--dtype", dtype]
    command = ["merge", folder / BASE, adapter, "-o", path, *options]
    assert main([str(part) for part in command]) == 0
    out = capsys.readouterr().out
    assert "merged.safetensors is a merged DA-VAE model" in out and "Load Diffusion Model" in out
    kinds = {"fp8_e4m3fn": torch.float8_e4m3fn, None: None}
    wanted = merge(
        load_transformer(folder / BASE),
        read_adapter(adapter),
        kinds.get(dtype) if dtype in kinds else getattr(torch, dtype),
    )
    found = load_file(path)
    assert found.keys() == wanted.keys() | {DESCRIPTION}
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].float(), tensor.float())


def test_merge_takes_every_form_of_a_base(folder, adapter, tmp_path):
    base = load_transformer(folder / BASE)
    whole = {f"model.diffusion_model.{name}": tensor.clone() for name, tensor in base.items()}
    save_file(whole | {"first_stage_model.x": torch.zeros(1)}, tmp_path / "full.safetensors")
    diffusers = tmp_path / "diffusers" / "transformer"
    diffusers.mkdir(parents=True)
    shutil.copy(folder / BASE, diffusers / "diffusion_pytorch_model.safetensors")
    half = {name: tensor.half() for name, tensor in load_file(folder / BASE).items()}
    save_file(half, tmp_path / "half.safetensors")
    fp8 = {
        name: tensor.to(torch.float8_e4m3fn) for name, tensor in load_file(folder / BASE).items()
    }
    save_file(fp8, tmp_path / "fp8.safetensors")
    found = {}
    for name in ("full.safetensors", "diffusers", "half.safetensors", "fp8.safetensors"):
        path = tmp_path / f"merged_{name.split('.')[0]}.safetensors"
        command = ["merge", tmp_path / name, adapter, "-o", path, "--dtype", "float32"]
        assert main([str(part) for part in command]) == 0
        found[name] = load_file(path)
    wanted = found["diffusers"]
    for name, tensor in wanted.items():
        assert torch.equal(found["full.safetensors"][name], tensor)
    qkv = "joint_blocks.0.x_block.attn.qkv.weight"
    torch.testing.assert_close(found["half.safetensors"][qkv], wanted[qkv], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found["fp8.safetensors"][qkv], wanted[qkv], rtol=0.1, atol=0.02)


def test_inspect_says_what_an_adapter_and_a_merged_model_need(folder, vae, tmp_path, capsys):
    adapter, merged = tmp_path / "davae_adapter.safetensors", tmp_path / "merged.safetensors"
    rest = ["--weights", "ema", "--base", folder / BASE, "--vae", vae, "--sizes", "2048"]
    assert main(convert(folder, adapter, *rest)) == 0
    assert main(["merge", str(folder / BASE), str(adapter), "-o", str(merged)]) == 0
    capsys.readouterr()
    for path, place in ((adapter, "models/loras"), (merged, "models/diffusion_models")):
        assert main(["inspect", str(path)]) == 0
        text = capsys.readouterr().out
        for words in (
            "16 base + 16 detail channels",
            "shift 4, 30 steps, guidance 2.5; trained at 2048x2048",
            BASE,
            f"the DA-VAE it was trained with ({encoding_hash(vae)[:12]})",
            place,
        ):
            assert words in text
    assert main(["inspect", str(adapter)]) == 0
    assert "rank 8 on 16 layers" in capsys.readouterr().out
    assert main(["inspect", str(merged), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "merged" and found["metadata"]["advice"]["shift"] == 4
    # What a stock saver leaves: the same tensors under a prefix, without our metadata.
    saved = {f"model.diffusion_model.{name}": part for name, part in load_file(merged).items()}
    save_file(saved, tmp_path / "saved.safetensors")
    assert main(["inspect", str(tmp_path / "saved.safetensors")]) == 0
    text = capsys.readouterr().out
    assert "saved.safetensors is a merged DA-VAE model" in text and "2048x2048" in text


def test_inspect_says_what_a_pretrained_transformer_can_be_used_for(folder, tmp_path, capsys):
    base = load_transformer(folder / BASE)
    full = {f"model.diffusion_model.{name}": tensor.clone() for name, tensor in base.items()}
    save_file(full, tmp_path / "full.safetensors")
    for path in (folder / BASE, tmp_path / "full.safetensors"):
        assert main(["inspect", str(path)]) == 0
        text = capsys.readouterr().out
        assert "Stable Diffusion 3 of width 128 with 2 blocks, for latents of 16 channels" in text
        assert "can be widened" in text and "davae merge" in text
    quantised = {**base, "joint_blocks.0.x_block.attn.qkv.scale_weight": torch.ones(1)}
    save_file({name: part.clone() for name, part in quantised.items()}, tmp_path / "q.safetensors")
    assert main(["inspect", str(tmp_path / "q.safetensors")]) == 0
    assert "stored quantised" in capsys.readouterr().out


def test_inspect_says_what_a_latent_needs(tmp_path, capsys):
    picture, latent = tmp_path / "grey.png", tmp_path / "latent.safetensors"
    Image.new("RGB", (64, 32)).save(picture)
    assert main(["encode", str(picture), "-o", str(latent), "--vae", "mini"]) == 0
    capsys.readouterr()
    assert main(["inspect", str(latent)]) == 0
    text = capsys.readouterr().out
    assert "1 of 64x32 pixels, 32 channels of 2x4 cells" in text and "2 tokens" in text
    assert encoding_hash(davae_path())[:12] in text


def without(options, name):
    place = options.index(name)
    return [*options[:place], *options[place + 2 :]]


def test_convert_says_what_stage_2_needs(folder, tmp_path, fails):
    live = ["--weights", "live", "--lora", folder / LORA, "--base", folder / BASE]
    out = "out.safetensors"
    for lacking, words in (
        ("--lora", "name it with --lora"),
        ("--base", "name that with --base"),
        ("--weights", "add --weights live or ema"),
    ):
        sentence = fails(["convert", folder / STEP, "-o", tmp_path / out, *without(live, lacking)])
        assert words in sentence and STEP in sentence
    command = ["convert", folder / STEP, "-o", tmp_path / out, *live]
    assert "--compact are not for" in fails([*command, "--compact"])
    ema = ["--weights", "ema", *live[2:]]
    assert "leave --lora out" in fails([*command[:4], *ema])
    assert "is a diffusion transformer, not a DA-VAE" in fails([*command, "--vae", folder / BASE])
    with pytest.raises(SystemExit) as caught:
        main([*map(str, command), "--sizes", "0"])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    "option", [("--weights", "live"), ("--lora", "x.safetensors"), ("--vae", "x"), ("--sizes", "9")]
)
def test_options_of_stage_2_are_refused_for_stage_1(option, published_file, tmp_path, fails):
    command = ["convert", published_file, "-o", tmp_path / "out.safetensors", *option]
    sentence = fails(command)
    assert f"{option[0]} belongs to stage 2" in sentence and "pytorch_model.bin" in sentence


def spoil_settings(folder, text):
    tensors = load_file(folder / LORA)
    save_file(tensors, folder / LORA, {"lora_adapter_metadata": text})


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"r": 0, "lora_alpha": 1}', '{"r": "x", "lora_alpha": 1}', "null"]
)
def test_damaged_lora_settings_are_named(text, folder, tmp_path, fails):
    spoil_settings(folder, text)
    sentence = fails(convert(folder, tmp_path / "out.safetensors"))
    assert "damaged LoRA settings" in sentence and LORA in sentence


def test_unusual_lora_settings_are_refused_and_usual_ones_scale(folder, tmp_path, fails):
    spoil_settings(folder, '{"r": 8, "lora_alpha": 8, "use_rslora": true}')
    assert "use_rslora" in fails(convert(folder, tmp_path / "out.safetensors"))
    before = load_file(folder / LORA)
    spoil_settings(folder, '{"r": 8, "lora_alpha": 16, "rank_pattern": {}}')
    assert main(convert(folder, tmp_path / "out.safetensors")) == 0
    name = "transformer_blocks.0.attn.to_q.lora_B.weight"
    assert torch.equal(read_adapter(tmp_path / "out.safetensors").lora[name], 2 * before[name])


def change_lora(change):
    def spoil(folder):
        with safe_open(folder / LORA, "pt") as file:
            metadata = file.metadata()
        tensors = load_file(folder / LORA)
        change(tensors)
        save_file(tensors, folder / LORA, metadata)

    return spoil


def change_step(change):
    def spoil(folder):
        state = torch.load(folder / STEP, weights_only=True)
        change(state["model_state_dict"])
        torch.save(state, folder / STEP)

    return spoil


def change_base(change):
    def spoil(folder):
        tensors = load_file(folder / BASE)
        change(tensors)
        save_file(tensors, folder / BASE)

    return spoil


def cut(name):
    def spoil(folder):
        (folder / name).write_bytes((folder / name).read_bytes()[:-500])

    return spoil


EXTRA_HEAD, Q = "project_out.extra_linear.weight", "transformer_blocks.0.attn.to_q"
BAD_SOURCES = {
    "no twin": (change_lora(lambda t: t.pop(f"{Q}.lora_B.weight")), f"{Q} lacks lora_B"),
    "other rank": (
        change_lora(lambda t: t.update({f"{Q}.lora_B.weight": torch.zeros(128, 3)})),
        f"{Q} has lora_A",
    ),
    "other width": (
        change_lora(lambda t: t.update({f"{Q}.lora_A.weight": torch.zeros(8, 64)})),
        f"{Q} has shape [128, 64]",
    ),
    "foreign layer": (
        change_lora(lambda t: t.update({f"conv.lora_{part}.weight": torch.zeros(8, 8) for part in "AB"})),
        "conv, which this base does not have",
    ),
    "no LoRA": (lambda f: shutil.copy(f / BASE, f / LORA), "is not a LoRA"),
    "cut LoRA": (cut(LORA), "is cut short"),
    "cut step": (cut(STEP), "cannot be read as plain weights"),
    "no head": (change_step(lambda t: t.pop(EXTRA_HEAD)), EXTRA_HEAD),
    "head of another width": (
        change_step(lambda t: t.update({EXTRA_HEAD: torch.zeros(32, 128)})),
        "step_4321.pt",
    ),
    "a head that is no tensor": (change_step(lambda t: t.update({EXTRA_HEAD: 7})), STEP),
    "cut base": (cut(BASE), "is cut short"),
    "coarse base": (
        change_base(lambda t: t.update({n: p.to(torch.float8_e4m3fn) for n, p in t.items()})),
        "too coarse",
    ),
    "another base": (change_base(lambda t: other_base(t)), "has nothing of the base's own"),
    "widened base": (
        change_base(lambda t: t.update({"pos_embed.proj.weight": torch.zeros(128, 32, 2, 2)})),
        "widened already",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SOURCES)
def test_convert_refuses_stage_2_files_that_are_damaged_or_do_not_fit(
    case, folder, tmp_path, fails
):
    spoil, words = BAD_SOURCES[case]
    spoil(folder)
    assert words in fails(convert(folder, tmp_path / "out.safetensors"))


def other_base(tensors):
    torch.manual_seed(0)
    tensors.update({name: torch.randn_like(tensor) for name, tensor in tensors.items()})


BAD_BASES = {
    "another": (change_base(other_base), "was trained on another base than", f"pick {BASE}"),
    "cut": (cut(BASE), BASE, "is cut short"),
    "scaled fp8": (
        change_base(lambda t: t.update({"transformer_blocks.0.ff.net.2.scale_weight": torch.ones(1)})),
        BASE,
        "quantised transformer",
    ),
    "blocks of comfy": (
        change_base(lambda t: t.update({"transformer_blocks.0.ff.net.2.comfy_quant": torch.zeros(9).byte()})),
        BASE,
        "quantised transformer",
    ),
    "four bits": (
        change_base(lambda t: t.update({"transformer_blocks.0.ff.net.2.weight": torch.zeros(99).byte()})),
        BASE,
        "quantised transformer",
    ),
    "shallow": (
        change_base(lambda t: [t.pop(name) for name in list(t) if "blocks.1." in name]),
        "which this base does not have",
        "pick the model it was trained on",
    ),
    "other widths": (
        change_base(lambda t: t.update({"transformer_blocks.1.attn.to_q.weight": torch.zeros(99, 128)})),
        "does not fit",
        "pick the model it was trained on",
    ),
    "no edges": (change_base(lambda t: t.pop("proj_out.weight")), BASE, "give SD3 or SD3.5"),
    "foreign": (
        lambda f: save_file({"x": torch.zeros(1)}, f / BASE),
        "an unknown kind of file",
        "give SD3 or SD3.5",
    ),
    "a VAE": (lambda f: shutil.copy(davae_path(), f / BASE), "is a DA-VAE", "model it starts from"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_BASES)
def test_merge_refuses_a_base_that_is_not_the_adapter_s(case, folder, adapter, tmp_path, fails):
    spoil, *words = BAD_BASES[case]
    spoil(folder)
    sentence = fails(["merge", folder / BASE, adapter, "-o", tmp_path / "merged.safetensors"])
    assert all(part in sentence for part in words)


def test_merge_refuses_what_is_widened_already(folder, adapter, tmp_path, fails):
    merged, out = tmp_path / "once.safetensors", tmp_path / "merged.safetensors"
    assert main(["merge", str(folder / BASE), str(adapter), "-o", str(merged)]) == 0
    tensors = load_file(merged)
    sentences = [fails(["merge", merged, adapter, "-o", out])]
    save_file(tensors, merged)
    sentences.append(fails(["merge", merged, adapter, "-o", out]))
    for sentence in sentences:
        assert "a merged DA-VAE model, not a pretrained transformer" in sentence
    del tensors[DESCRIPTION]
    save_file(tensors, merged)
    assert "once.safetensors is widened already" in fails(["merge", merged, adapter, "-o", out])


def test_merge_refuses_what_is_no_adapter(folder, adapter, tmp_path, fails):
    out = tmp_path / "merged.safetensors"
    for path, words in (
        (folder / LORA, "is a LoRA, not a DA-VAE adapter"),
        (folder / BASE, "is a diffusion transformer, not a DA-VAE adapter"),
        (davae_path(), "is a DA-VAE, not a DA-VAE adapter"),
        (tmp_path / "missing.safetensors", "does not exist"),
    ):
        sentence = fails(["merge", folder / BASE, path, "-o", out])
        assert words in sentence and str(path) in sentence
    merged = tmp_path / "once.safetensors"
    assert main(["merge", str(folder / BASE), str(adapter), "-o", str(merged)]) == 0
    assert "needs no adapter" in fails(["merge", folder / BASE, merged, "-o", out])
    adapter.write_bytes(adapter.read_bytes()[:-100])
    assert "is cut short" in fails(["merge", folder / BASE, adapter, "-o", out])


def test_no_file_that_is_read_is_written_over(folder, adapter, tmp_path, capsys):
    base = (folder / BASE).read_bytes()
    for output in (folder / BASE, folder / LORA):
        assert main(convert(folder, output)) == 1
        assert "is a file that this command reads" in capsys.readouterr().err
    for output in (folder / BASE, adapter):
        assert main(["merge", str(folder / BASE), str(adapter), "-o", str(output)]) == 1
        assert "is a file that this command reads" in capsys.readouterr().err
    assert (folder / BASE).read_bytes() == base


@pytest.mark.parametrize("command", ["convert", "merge"])
def test_a_full_disk_leaves_what_was_there(command, folder, adapter, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    existing = out / "out.safetensors"
    existing.write_bytes(OLD)
    commands = {
        "convert": convert(folder, existing),
        "merge": ["merge", str(folder / BASE), str(adapter), "-o", str(existing)],
    }
    with room_for(100_000):
        assert main(commands[command]) == 1
    sentence = capsys.readouterr().err
    assert sentence.count("\n") == 1 and "the disk is full" in sentence
    assert existing.read_bytes() == OLD and list(out.iterdir()) == [existing]


def test_a_shard_that_is_missing_or_an_index_that_is_damaged_is_named(
    folder, adapter, tmp_path, fails
):
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    out = tmp_path / "merged.safetensors"
    index.write_text(json.dumps({"weight_map": {"x": "gone.safetensors"}}))
    assert "gone.safetensors does not exist" in fails(["merge", folder, adapter, "-o", out])
    too_long = json.dumps({"weight_map": {"x": "a" * 400}})
    for text in ("{", "[]", '{"weight_map": [1]}', '{"weight_map": {"x": 1}}', too_long):
        index.write_text(text)
        assert "is damaged" in fails(["merge", folder, adapter, "-o", out])


def test_the_description_of_what_merge_wrote_is_read_from_its_header(folder, adapter, tmp_path):
    merged = tmp_path / "merged.safetensors"
    assert main(["merge", str(folder / BASE), str(adapter), "-o", str(merged)]) == 0
    found, own = read_file_description(merged), read_file_description(adapter)
    assert (found.layout, found.advice) == (own.layout, own.advice)
    assert found.parents["base"] == own.parents["base"]


def test_a_converted_codec_can_still_be_told_from_stage_2(published_file, tmp_path):
    path = tmp_path / "ours.safetensors"
    assert main(["convert", str(published_file), "-o", str(path)]) == 0
    assert load_codec(path).layout.channels == 32
