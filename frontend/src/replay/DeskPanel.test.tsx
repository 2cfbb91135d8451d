import { describe, expect, test, vi } from "vitest";
import { page, userEvent } from "vitest/browser";
import { fact, logOf, THREAD } from "../../tests-support/logs";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { fakeServer, handed, json, PEOPLE, problem, threadOf } from "../../tests-support/server";
import type { Fact, Thread } from "../api/client";

const KIM = [PEOPLE.lead.id, PEOPLE.lead.name] as const;
const desk = () => page.getByRole("region", { name: "Desk" });
const button = (name: string) => desk().getByRole("button", { name, exact: true });

/** A server on which leads take over, answer and give back. */
function withDesk(more: Partial<Thread> = handed()) {
  const server = fakeServer("lead");
  const bodies: { path: string; body: unknown }[] = [];
  const now = (next: Partial<Thread>) => {
    server.threads(threadOf(next));
    return json(threadOf(next));
  };
  const route = (
    name: string,
    next: () => Partial<Thread>,
    told: (body: Record<string, string>) => Fact,
  ) => {
    server.routes[`POST /api/threads/*/${name}`] = async (url, request) => {
      const text = await request.text();
      const body = text === "" ? {} : JSON.parse(text);
      bodies.push({ path: url.pathname.split("/").at(-1) ?? "", body });
      server.happen(told(body));
      return now(next());
    };
  };
  route(
    "take-over",
    () => handed(...KIM),
    () => fact.tookOver(),
  );
  route(
    "messages",
    () => handed(...KIM),
    ({ message_id = "", text = "" }) => fact.personSaid(message_id, text),
  );
  route(
    "give-back",
    () => ({ status: "waiting" }),
    ({ remark = "" }) => fact.gaveBack(remark),
  );
  route(
    "resolve",
    () => ({ status: "resolved" }),
    () => fact.resolved(),
  );
  server.threads(threadOf(more));
  server.log.push(...logOf([fact.wrote("m1", "I want a person"), fact.handoff("customer")]));
  return { server, bodies, now };
}

describe("the desk", () => {
  test.each([1280, 390])("takes over, answers and gives back, %i pixels wide", async (width) => {
    const { server, bodies } = withDesk();
    await openPage(server, { path: `/replay/${THREAD}`, width, height: 844 });
    await expect
      .element(desk().getByText(/Ada Park waits for a person \(customer request\)/))
      .toBeVisible();
    await expect.element(desk().getByText("Wants to talk about order 1002")).toBeVisible();
    await expectAccessible();

    await button("Take over").click();
    await expect.element(desk().getByText(/You have this conversation/)).toBeVisible();
    await expect.element(page.getByText(/Kim Osei from the team has joined/)).toBeVisible();
    const answer = desk().getByRole("textbox", { name: "Your answer to Ada Park" });
    await answer.fill("Hello Ada, I look into it.");
    await userEvent.keyboard("{Enter}");
    await expect.element(page.getByText("Hello Ada, I look into it.").first()).toBeVisible();
    await expect.element(answer).toHaveValue("");
    expectNoSidewaysScroll();
    await expectAccessible();

    await button("Give back").click();
    await desk()
      .getByRole("textbox", { name: /Remark/ })
      .fill("She may have a voucher.");
    await expectAccessible();
    await userEvent.keyboard("{Enter}");

    await expect.element(desk().getByText("The agents answer here.")).toBeVisible();
    await expect.element(desk().getByRole("textbox")).not.toBeInTheDocument();
    expect(bodies.map(({ path }) => path)).toEqual(["take-over", "messages", "give-back"]);
    expect(bodies[1]?.body).toMatchObject({
      message_id: expect.stringMatching(/^[A-Za-z0-9_-]{1,64}$/),
      text: "Hello Ada, I look into it.",
    });
    expect(bodies[2]?.body).toEqual({ remark: "She may have a voucher." });
  });

  test("brings what happens by itself, each once", async () => {
    const { server } = withDesk(handed(...KIM));
    await openPage(server, { path: `/replay/${THREAD}` });
    await expect.element(desk().getByText(/You have this conversation/)).toBeVisible();

    server.happen(fact.wrote("m2", "Are you there?", "t2", true));

    await expect
      .element(page.getByRole("option", { name: /wrote to the person/ }), { timeout: 6_000 })
      .toBeVisible();
    server.happen(fact.wrote("m3", "Hello?", "t3", true));
    await expect
      .element(page.getByRole("option", { name: /Hello\?/ }), { timeout: 6_000 })
      .toBeVisible();
    expect(page.getByRole("option").elements()).toHaveLength(4);
    await vi.waitFor(
      () => expect(server.asked.some((line) => line.endsWith("after=4"))).toBe(true),
      6_000,
    );
  });

  test("says who was quicker, and then offers nothing", async () => {
    const { server } = withDesk();
    server.routes["POST /api/threads/*/take-over"] = () => {
      server.threads(threadOf(handed("lead_lou", "Lou Wirth")));
      const detail = "Lou Wirth has this conversation.";
      const title = "Somebody else has taken this conversation.";
      const said = { title, detail, code: "CONV_TAKEN_BY_ANOTHER", status: 409 };
      return json({ ...said, correlation_id: "cor-9" }, 409);
    };
    await openPage(server, { path: `/replay/${THREAD}` });

    await button("Take over").click();

    await expect.element(desk().getByRole("alert")).toHaveTextContent("Lou Wirth has this");
    await expect.element(desk().getByText("CONV_TAKEN_BY_ANOTHER")).toBeVisible();
    await expect.element(desk().getByRole("status")).toHaveTextContent("Lou Wirth has this");
    expect(desk().getByRole("button").elements()).toEqual([]);
    await expectAccessible();
  });

  test("keeps an answer that did not arrive, and sends it again under its id", async () => {
    const { server, bodies } = withDesk(handed(...KIM));
    const arrives = server.routes["POST /api/threads/*/messages"];
    const ids: string[] = [];
    server.routes["POST /api/threads/*/messages"] = async (_, request) => {
      ids.push((await request.json()).message_id);
      return problem(503, "DB_UNAVAILABLE", "Not just now.");
    };
    await openPage(server, { path: `/replay/${THREAD}` });
    const answer = desk().getByRole("textbox", { name: /Your answer/ });
    await answer.fill("One moment.");
    await userEvent.keyboard("{Enter}");
    await expect.element(desk().getByRole("alert")).toHaveTextContent("Not just now.");
    await expect.element(answer).toHaveValue("One moment.");

    if (arrives) server.routes["POST /api/threads/*/messages"] = arrives;
    await answer.click();
    await userEvent.keyboard("{Enter}");

    await vi.waitFor(() => expect(bodies).toHaveLength(1));
    expect(bodies[0]?.body).toMatchObject({ message_id: ids[0] });
    await expect.element(desk().getByRole("alert")).not.toBeInTheDocument();
  });

  test("takes over what the agents have, and settles it", async () => {
    const { server, bodies } = withDesk({});
    await openPage(server, { path: `/replay/${THREAD}` });
    await expect.element(desk().getByText("The agents answer here.")).toBeVisible();
    expect(desk().getByRole("button").elements()).toHaveLength(1);

    await button("Take over").click();
    await button("Resolve").click();

    await expect.element(desk().getByText("The agents answer here.")).toBeVisible();
    expect(bodies.map(({ path }) => path)).toEqual(["take-over", "resolve"]);
  });
});

describe("the list", () => {
  test.each([1280, 390])("filters by who waits for a person, %i pixels wide", async (width) => {
    const server = fakeServer("lead");
    const other = "0193a5c0-0000-7000-8000-000000000002";
    server.threads(
      threadOf({ title: "I want a person", status: "handed_off" }),
      threadOf({ id: other, title: "Thank you", status: "resolved" }),
    );
    const { history } = await openPage(server, { path: "/replay", width, height: 844 });
    const filter = page.getByRole("button", { name: "Waiting for a person (1)" });
    await expect.element(page.getByText("Thank you")).toBeVisible();

    await filter.click();

    await vi.waitFor(() => expect(history.location.search).toBe("?status=handed_off"));
    await expect.element(filter).toHaveAttribute("aria-pressed", "true");
    await expect.element(page.getByText("Thank you")).not.toBeInTheDocument();
    await expectAccessible();
    expectNoSidewaysScroll();
    await filter.click();
    await vi.waitFor(() => expect(history.location.search).toBe(""));
  });
});
