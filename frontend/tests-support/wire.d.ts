import type { ReplayEvent } from "../src/api/client";
import type { EventFrame } from "../src/api/frames";

export interface LivePiece {
  live: string;
  offset: number;
  text: string;
}
export function framesOf(event: ReplayEvent, threadId: string): EventFrame[];
export function speaker(threadId: string): (item: ReplayEvent | LivePiece) => EventFrame[];
export function livePieces(messageId: string, text: string, size?: number): LivePiece[];
