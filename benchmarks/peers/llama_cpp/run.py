"""What llama.cpp makes of a GGUF file. Started in the environment of benchmarks/peers/llama_cpp.

Reads one JSON object from standard input and writes one to standard output:

    {"model": path, "texts": [text, …], "tokens": how many to continue each text by, "logits": path of a .npy to write}
    {"model": path, "convert": {"to": path, "type": "ALL_F32" | "MOSTLY_Q8_0" | …}}
    {"version": …, "ids": [[id, …], …], "greedy": [[id, …], …], "text": [text, …], "template": …}

`ids` is each text as llama.cpp cuts it, `greedy` what it continues it with, and the file holds the logits after every
token of all texts and continuations, one below the other.
"""

import ctypes
import json
import sys

import llama_cpp
import numpy as np


def convert(model: str, wanted: dict[str, str]) -> None:
    """Have llama.cpp store every matrix in another format, embedding and head included."""
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_{wanted['type']}")
    settings.allow_requantize = settings.pure = True
    settings.nthread = 1
    if llama_cpp.llama_model_quantize(model.encode(), wanted["to"].encode(), ctypes.byref(settings)):
        sys.exit(f"llama.cpp cannot convert {model}")


def main() -> None:
    job = json.load(sys.stdin)
    if "convert" in job:
        convert(job["model"], job["convert"])
        print("{}")
        return
    llama = llama_cpp.Llama(
        job["model"],
        n_ctx=job.get("context", 512),
        n_batch=512,
        n_threads=job.get("threads", 1),
        logits_all=True,
        type_k=llama_cpp.GGML_TYPE_F32,  # the cache in the precision of ours
        type_v=llama_cpp.GGML_TYPE_F32,
        verbose=False,
    )
    ids, greedy, text, logits = [], [], [], []
    for prompt in job["texts"]:
        tokens = llama.tokenize(prompt.encode(), add_bos=False, special=job.get("special", False))
        new: list[int] = []
        llama.reset()
        llama.eval(tokens)
        for _ in range(job["tokens"]):
            new.append(int(np.argmax(llama.scores[llama.n_tokens - 1])))
            if llama_cpp.llama_vocab_is_eog(llama._model.vocab, new[-1]):
                break
            llama.eval([new[-1]])
        ids.append(tokens)
        greedy.append(new)
        text.append(llama.detokenize(new).decode(errors="replace"))
        logits.append(llama.scores[: llama.n_tokens].copy())
    if "logits" in job:
        np.save(job["logits"], np.concatenate(logits))
    found = {"version": llama_cpp.__version__, "ids": ids, "greedy": greedy, "text": text}
    json.dump(found | {"template": llama.metadata.get("tokenizer.chat_template")}, sys.stdout)


if __name__ == "__main__":
    main()
