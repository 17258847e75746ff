"""Answer requests by any OpenAI-compatible server, or several: vLLM, SGLang, llama.cpp, Ollama, hosted ones.

`protocol` knows the words of the protocol, `reading` finds the answer in what comes back, and `scores` its
probabilities; `failures` says what a failure means, `gate` when a server may be asked again, `features` what it does
not take. `server` asks one server, `engine` shares requests out among several and decides when to give up.
"""

from ictc.engines.openai.engine import load_openai_engine

__all__ = ["load_openai_engine"]
