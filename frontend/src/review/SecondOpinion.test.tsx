import { expect, test, vi } from "vitest";
import { page } from "vitest/browser";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { operationOf, reviewDesk, SPEC } from "../../tests-support/review";
import { fakeServer, json, problem } from "../../tests-support/server";

async function openReview(offered: boolean) {
  const server = fakeServer("operator");
  const desk = reviewDesk(Array.from({ length: 3 }, (_, n) => operationOf(n)));
  server.review(desk);
  server.routes["GET /api/advice"] = () => json({ offered });
  await openPage(server, { path: `/review/${SPEC}`, width: 390, height: 844 });
  await expect.element(page.getByRole("grid")).toBeVisible();
  return { server, desk };
}

const ask = page.getByRole("button", { name: "Ask for a second opinion" });
const status = (text: string | RegExp) => page.getByRole("status").getByText(text);

test("there is no second opinion where the installation has none", async () => {
  const { server } = await openReview(false);

  await vi.waitFor(() => expect(server.asked).toContain("GET /api/advice"));
  await expect.element(ask).not.toBeInTheDocument();
});

test("every page of operations is asked about, and the list shows what was said", async () => {
  const { server, desk } = await openReview(true);
  const pages: (string | null)[] = [];
  server.routes["POST /api/specs/*/advice"] = (url) => {
    pages.push(url.searchParams.get("after"));
    if (pages.length === 1)
      return json({ asked: 2, advised: 2, unanswered: [], next_after: "GET /things/0" });
    desk.advise(operationOf(0).id);
    return json({ asked: 1, advised: 0, unanswered: ["POST /things/1"], next_after: null });
  };
  await expectAccessible();
  expectNoSidewaysScroll();

  await ask.click();

  await expect
    .element(status("The model's word stands beside 2 suggestions. It gave no answer on 1."))
    .toBeVisible();
  expect(pages).toEqual(["", "GET /things/0"]);
  await expect.element(page.getByRole("row", { name: /Rules disagree 1/ })).toBeVisible();
  await expectAccessible();
});

test("asking can be stopped, and says how far it came", async () => {
  const { server } = await openReview(true);
  let calls = 0;
  server.routes["POST /api/specs/*/advice"] = (_, { signal }) => {
    calls += 1;
    return calls === 1
      ? json({ asked: 20, advised: 20, unanswered: [], next_after: "GET /a" })
      : new Promise<Response>((_, refuse) => {
          signal.addEventListener("abort", () => refuse(signal.reason));
        });
  };

  await ask.click();
  await expect.element(status(/20 operations so far/)).toBeVisible();
  await page.getByRole("button", { name: "Stop asking" }).click();

  await expect.element(ask).toBeVisible();
  await expect.element(status("The model's word stands beside 20 suggestions.")).toBeVisible();
  expect(calls).toBe(2);
});

test("a model that cannot be asked is said, and can be asked again", async () => {
  const { server } = await openReview(true);
  server.routes["POST /api/specs/*/advice"] = () => problem(503, "MODEL_DOWN", "Not just now.");

  await ask.click();

  await expect.element(page.getByRole("alert")).toHaveTextContent("Not just now.");
  await expect.element(ask).toBeEnabled();
});
