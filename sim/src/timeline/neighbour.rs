//! The lane of somebody who does not speak as it should: how long it was borne, what it was told.

use super::canvas::Canvas;
use super::lanes::Lane;
use super::peer;
use super::story::Story;

pub(super) fn draw(story: &Story<'_>, lane: &Lane, canvas: &mut Canvas) {
    peer::draw_faults(story, lane, canvas);
    for connection in lane.members.iter().flat_map(|who| story.connections(*who)) {
        let y = lane.height() - 9.0;
        peer::draw_connection(story, connection, canvas, y);
        peer::draw_told(story, connection, canvas, y + 2.0, y - 1.0);
    }
}
