import { describe, expect, test } from "vitest";
import { page, userEvent } from "vitest/browser";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { fakeServer, problem } from "../../tests-support/server";

const item = (name: string) => page.getByRole("menuitem", { name, exact: true });

async function openMenu(server = fakeServer("lead"), width = 1280) {
  await openPage(server, { path: "/replay", width });
  const target = page.getByRole("button", { name: /Kim Osei/ });
  await expect.element(target).toBeVisible();
  (target.element() as HTMLElement).focus();
  await userEvent.keyboard("{Enter}");
  await expect.element(page.getByRole("menu")).toBeVisible();
  return target;
}

describe("the menu of who is signed in", () => {
  test.each([1280, 390])("is accessible, and says who that is, at %i", async (width) => {
    await openMenu(fakeServer("lead"), width);

    await expect.element(page.getByRole("group", { name: /Kim Osei.*Support lead/ })).toBeVisible();
    await expectAccessible();
    expectNoSidewaysScroll();
  });

  test("is walked with the arrows, Home and End, and goes round", async () => {
    await openMenu();

    await expect.element(item("Sign out")).toHaveFocus();
    await userEvent.keyboard("{ArrowDown}");
    await expect.element(item("Sign out everywhere")).toHaveFocus();
    await userEvent.keyboard("{ArrowDown}");
    await expect.element(item("Sign out")).toHaveFocus();
    await userEvent.keyboard("{End}");
    await expect.element(item("Sign out everywhere")).toHaveFocus();
    await userEvent.keyboard("{Home}");
    await expect.element(item("Sign out")).toHaveFocus();
    await userEvent.keyboard("{ArrowUp}");
    await expect.element(item("Sign out everywhere")).toHaveFocus();
  });

  test("closes with Escape, and the focus is where it was", async () => {
    const target = await openMenu();
    await expect.element(item("Sign out")).toHaveFocus();
    await userEvent.keyboard("{Escape}");

    await expect.element(page.getByRole("menu")).not.toBeInTheDocument();
    await expect.element(target).toHaveFocus();
  });

  test("that could not sign out says so, keeps the focus, and is accessible", async () => {
    const server = fakeServer("lead");
    let refuse = () => {};
    const asked: string[] = [];
    server.routes["POST /api/me/sign-out"] = () => {
      asked.push("sign-out");
      return new Promise((resolve) => {
        refuse = () => resolve(problem(503, "DB_UNAVAILABLE", "Not now."));
      });
    };
    await openMenu(server);
    await expect.element(item("Sign out")).toHaveFocus();

    await userEvent.keyboard("{Enter}");
    await expect.element(item("Sign out")).toHaveAttribute("aria-disabled", "true");
    await userEvent.keyboard("{Enter}");
    expect(asked).toEqual(["sign-out"]);
    refuse();

    await expect.element(page.getByRole("alert")).toHaveTextContent("Not now.");
    await expect.element(item("Sign out")).toHaveFocus();
    await expectAccessible();
    await userEvent.keyboard("{End}");
    await expect.element(item("Leave this tab only")).toHaveFocus();
    await expect.element(item("Leave this tab only")).toHaveAccessibleDescription("Not now.");
  });
});
