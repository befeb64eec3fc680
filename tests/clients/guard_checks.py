"""The SDKs read streams in which the guard has redacted, and are told when it has ended one."""

import os

import anthropic
import openai

REDACT, BLOCK = os.environ["WEIR_CHUNK"], os.environ["WEIR_EVENT"]
KEY = os.environ["WEIR_KEY"]
MARK, SECRET = "[REDACTED_API_KEY_GROQ_1]", "q7Zk2Vb9"
USER = [{"role": "user", "content": "hi"}]


def oai(base):
    return openai.OpenAI(base_url=base + "/v1", api_key=KEY, max_retries=0)


def ant(base):
    return anthropic.Anthropic(base_url=base, api_key=KEY, max_retries=0)


def check(text):
    assert MARK in text and SECRET not in text and text.endswith("keep it."), text


chunks = list(oai(REDACT).chat.completions.create(model="oai", messages=USER, stream=True))
check("".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices))
assert chunks[-1].choices[0].finish_reason == "stop"
with oai(REDACT).responses.stream(model="oai", input="hi") as stream:
    done = [event for event in stream if event.type == "response.output_text.done"]
    check(done[0].text)
    check(stream.get_final_response().output_text)
with ant(REDACT).messages.stream(model="ant", max_tokens=64, messages=USER) as stream:
    check(stream.get_final_text())
check(oai(REDACT).chat.completions.create(model="oai", messages=USER).choices[0].message.content)
check(oai(REDACT).responses.create(model="oai", input="hi").output_text)
check(ant(REDACT).messages.create(model="ant", max_tokens=64, messages=USER).content[0].text)

said, reasons = "", []
try:
    for chunk in oai(BLOCK).chat.completions.create(model="oai", messages=USER, stream=True):
        said += chunk.choices[0].delta.content or ""
        reasons.append(chunk.choices[0].finish_reason)
    raise SystemExit("chat: the end was not told")
except openai.APIError as error:
    assert error.code == "output_blocked", error
assert reasons[-1] == "content_filter" and SECRET not in said, (reasons, said)
events = list(oai(BLOCK).responses.create(model="oai", input="hi", stream=True))
assert events[-2].code == "output_blocked" and events[-1].type == "response.incomplete", events
assert events[-1].response.incomplete_details.reason == "content_filter"
try:
    with ant(BLOCK).messages.stream(model="ant", max_tokens=64, messages=USER) as stream:
        said = "".join(stream.text_stream)
    raise SystemExit("messages: the end was not told")
except anthropic.APIStatusError as error:
    assert "output_blocked" in str(error.body), error
for call in (
    lambda: oai(BLOCK).chat.completions.create(model="oai", messages=USER),
    lambda: oai(BLOCK).responses.create(model="oai", input="hi"),
    lambda: ant(BLOCK).messages.create(model="ant", max_tokens=64, messages=USER),
):
    try:
        call()
        raise SystemExit("a blocked answer was given out")
    except (openai.PermissionDeniedError, anthropic.PermissionDeniedError) as error:
        assert error.status_code == 403 and "output_blocked" in str(error.body), error
print("ok")
