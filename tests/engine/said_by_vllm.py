"""`python -m tests.engine.said_by_vllm MODEL MAX_TOKENS`: questions as JSON on stdin, what `vllm.LLM.chat` answers on stdout."""

import json
import sys

from tests.engine.conftest import VLLM_CONFIG


def main() -> None:
    from vllm import LLM, SamplingParams

    model, max_tokens = sys.argv[1:]
    llm = LLM(model, **VLLM_CONFIG)
    sampling = SamplingParams(temperature=0.0, max_tokens=int(max_tokens))
    answers = []
    for question in json.load(sys.stdin):
        messages = [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": question}]
        [output] = llm.chat(messages, sampling, use_tqdm=False)
        answers.append({"text": output.outputs[0].text, "token_ids": list(output.outputs[0].token_ids)})
    sys.stdout.write(f"{json.dumps(answers)}\n")


if __name__ == "__main__":  # vLLM's own processes import this file again
    main()
