"""LangChain at providers of every dialect: `ChatOpenAI` (Chat and Responses) and `ChatAnthropic`, whole
and streamed, with bound tools in loops of two turns."""

import os
from functools import reduce
from operator import add

import anthropic
import openai
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from check import CUTS, GATEWAY, KEY, TEXT, check_each, equal, raises, run

PROVIDERS = ("chat", "claude", "responses")
ASK = HumanMessage("Say something that is worth a few tokens of input, please.")


def chat(model):
    return ChatOpenAI(base_url=f"{GATEWAY}/v1", api_key=KEY, model=model, max_retries=0, stream_usage=True,
                      use_responses_api=False)


def responses(model):
    return ChatOpenAI(base_url=f"{GATEWAY}/v1", api_key=KEY, model=model, max_retries=0, use_responses_api=True,
                      store=False)


def messages(model):
    return ChatAnthropic(base_url=GATEWAY, api_key=KEY, model=model, max_retries=0, max_tokens=100)


CLIENTS = {"chat": chat, "responses": responses, "messages": messages}
PAIRS = [f"{client} at {provider}" for client in CLIENTS for provider in PROVIDERS]
# LangChain makes a `ValueError` of the event that ends a broken Responses stream.
BROKEN = (openai.APIError, anthropic.APIError, ValueError)


@tool
def read_file(path: str) -> str:
    """Reads a file."""
    return f"fn main() {{}} // {path}"


def parts(pair, kind):
    client, provider = pair.split(" at ")
    return CLIENTS[client](f"{provider}-{kind}")


def streamed(model, turns):
    """All chunks, added up as LangChain does."""
    return reduce(add, model.stream(turns))


def ways(model):
    return (model.invoke, lambda turns: streamed(model, turns))


@check_each(*PAIRS)
def text(pair):
    for way in ways(parts(pair, "mock")):
        said = way([ASK])
        equal((said.text, said.tool_calls, said.usage_metadata["output_tokens"]), (TEXT, [], 4))
        # It reads the input of a stream from the event that ends it, where the mock's Messages have none.
        assert said.usage_metadata["input_tokens"] > 0 or pair == "messages at claude"
        equal(way([ASK, said, ASK]).text, TEXT)


@check_each(*PAIRS)
def tools_in_a_loop_of_two_turns(pair):
    for way in ways(parts(pair, "tools").bind_tools([read_file])):
        said = way([ASK])
        [call] = said.tool_calls
        equal((call["name"], call["args"]), ("read_file", {"path": "src/main.rs"}))
        result = read_file.invoke(call)
        assert isinstance(result, ToolMessage)
        equal(way([ASK, said, result]).text, TEXT)


@check_each(*PAIRS)
def a_tool_that_must_be_called(pair):
    for way in ways(parts(pair, "tools").bind_tools([read_file], tool_choice="read_file")):
        equal(way([ASK]).tool_calls[0]["name"], "read_file")


if "WEIR_DEMO" not in os.environ:

    @check_each(*(pair for pair in PAIRS if pair != "messages at claude"))
    def usage(pair):
        for way in ways(parts(pair, "counted")):
            used = way([ASK]).usage_metadata
            equal((used["input_token_details"]["cache_read"], used["output_tokens"]), (7, 6))

    @check_each(*PAIRS)
    def errors(pair):
        for kind, name in [("busy", "InternalServerError"), ("limited", "RateLimitError"), ("bad", "BadRequestError")]:
            wanted = (getattr(openai, name), getattr(anthropic, name))
            for way in ways(parts(pair, kind)):
                raises(wanted, lambda: way([ASK]))

    @check_each(*(f"{pair}, {cut}" for pair in PAIRS for cut in CUTS))
    def broken_stream_raises(what):
        pair, cut = what.split(", ")
        raises(BROKEN, lambda: streamed(parts(pair, cut), [ASK]))


run()
