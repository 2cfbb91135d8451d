import { CloseButton, Drawer } from "@mantine/core";
import type { ReactNode } from "react";
import classes from "./review.module.css";

interface SidePanelProps {
  title: string;
  opened: boolean;
  onClose: () => void;
  children: ReactNode;
}

/** Something beside the page. Mantine's own header would be a second banner. */
export function SidePanel({ title, opened, onClose, children }: SidePanelProps) {
  return (
    <Drawer.Root opened={opened} onClose={onClose} position="right">
      <Drawer.Overlay />
      <Drawer.Content aria-label={title}>
        <Drawer.Body>
          <div className={classes.panelHead}>
            <h2 className={classes.subtitle}>{title}</h2>
            <CloseButton aria-label="Close" onClick={onClose} />
          </div>
          {children}
        </Drawer.Body>
      </Drawer.Content>
    </Drawer.Root>
  );
}
