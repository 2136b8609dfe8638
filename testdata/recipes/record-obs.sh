#!/bin/bash
# record-obs.sh - re-record the capture set with real encoders, from nothing.
#
#   record-obs.sh [--install] [--out DIR] [--set FILE] [--keep-work] [NAME...]
#
#     --install    apt-get install what is needed (Debian 12), and a private
#                  Python environment with imageio-ffmpeg (a static, newer ffmpeg)
#     --out DIR    where flv/, rtmp/ and manifest.json go  (default: ./captures-new)
#     --set FILE   bash fragment that defines the recordings (default: the
#                  function recordings at the end of this file)
#     --keep-work  keep the scratch folder (logs, OBS's home, source clips)
#     NAME...      only these recordings        (default: all)
#
#   environment: RECORD_OBS_VENV   where that Python environment is (target/record-obs-venv)
#                RECORD_OBS_NICE   e.g. -8: a larger share of a busy CPU (see below)
#                MAXLAG, TRIES     retry OBS recordings that lag more (12 %, 3 tries)
#
# Takes about four minutes. Run on a quiet machine: OBS renders in software here, and
# two cores are just enough for 1080p30.
#
# Needs root on Debian 12, for two reasons: apt, and a private network namespace.
# Everything runs inside that namespace, which has loopback and nothing else, so
# neither OBS nor its remote control nor nginx can be reached or reach out.
# Every step is bounded in time, and only processes started here are ended, by pid.
#
# How it works
#   * OBS Studio 29 runs under Xvfb with Mesa's software GL, from a profile and a
#     scene collection written here.  The scene is one looped media source, a clip
#     of test patterns and tones that ffmpeg generates (no recorded material).
#   * OBS is told to start and stop by its own obs-websocket (obs_ctl.py), which is
#     the same path as its buttons, so a session ends the way a user's does.
#   * Wire captures: encoder -> rtmp_tap.py -> nginx-rtmp, all on loopback.
#   * Every recording's log goes to the scratch folder; a line of facts about it
#     (OBS's lag counters, encoder settings, how the connection ended) goes to
#     DIR/<name>.facts.json, from which captool.py makes the manifest.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
OUT=./captures-new SET= KEEP= INSTALL= ONLY=()
ARGS=("$@")
while [ $# -gt 0 ]; do
  case $1 in
    --install) INSTALL=1 ;;
    --out) OUT=$2; shift ;;
    --set) SET=$2; shift ;;
    --keep-work) KEEP=1 ;;
    -*) sed -n '2,17p' "$0"; exit 2 ;;
    *) ONLY+=("$1") ;;
  esac
  shift
done
VENV=${RECORD_OBS_VENV:-$HERE/../../target/record-obs-venv}

if [ -n "$INSTALL" ] && [ -z "${RECORD_OBS_INSIDE:-}" ]; then
  # No package may start its service (nginx's would listen on port 80).
  policy=/usr/sbin/policy-rc.d made=
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; made=1; }
  apt-get update || true
  apt-get install -y --no-install-recommends \
    obs-studio xvfb libgl1-mesa-dri x11-apps imagemagick \
    ffmpeg nginx libnginx-mod-rtmp iproute2 python3 python3-venv \
    gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
    gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav \
    || { [ -z "$made" ] || rm -f $policy; exit 1; }
  [ -z "$made" ] || rm -f $policy
  [ -x "$VENV/bin/pip" ] || /usr/bin/python3 -m venv "$VENV"
  "$VENV/bin/pip" install -q imageio-ffmpeg
fi
# From here on: in a network namespace with loopback only.
if [ -z "${RECORD_OBS_INSIDE:-}" ]; then
  RECORD_OBS_INSIDE=1 exec setsid -w unshare --net -- "$0" "${ARGS[@]}"
fi
ip link set lo up
# RECORD_OBS_NICE=-8 or so: on a busy machine, a larger share of the CPU for this
# run (its own session's autogroup, else plain niceness), so that OBS keeps up.
if [ -n "${RECORD_OBS_NICE:-}" ]; then
  { echo "$RECORD_OBS_NICE" >/proc/self/autogroup; } 2>/dev/null || renice -n "$RECORD_OBS_NICE" $$ >/dev/null
fi

mkdir -p "$OUT/flv" "$OUT/rtmp"; OUT=$(cd "$OUT" && pwd)
WORK=$(mktemp -d "${TMPDIR:-/var/tmp}/record-obs.XXXXXX")
FFNEW=$(ls "$VENV"/lib/python3*/site-packages/imageio_ffmpeg/binaries/ffmpeg-* 2>/dev/null | head -1 || true)
TAP=19350 NGINX=19351 OBSWS=19355   # TCP ports, inside the namespace
PIDS=()

cleanup() {
  local p
  for p in "${PIDS[@]}"; do kill "$p" 2>/dev/null || true; done
  sleep 0.5
  for p in "${PIDS[@]}"; do kill -9 "$p" 2>/dev/null || true; done
  if [ -n "$KEEP" ]; then echo "scratch folder kept: $WORK"; else rm -rf "$WORK"; fi
}
trap cleanup EXIT
say() { echo "record-obs: $*"; }
wait_line() { # FILE PATTERN SECONDS: until a line matching PATTERN is in FILE
  local n
  for ((n = 0; n < $3 * 10; n++)); do
    grep -qs -- "$2" "$1" && return 0
    sleep 0.1
  done
  say "gave up waiting for '$2' in $(basename "$1")"; return 1
}
wait_exit() { # PID SECONDS: until it has ended; kills it when it does not
  local n
  for ((n = 0; n < $2 * 10; n++)); do
    kill -0 "$1" 2>/dev/null || { wait "$1" 2>/dev/null || true; return 0; }
    sleep 0.1
  done
  kill -9 "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true
  return 1
}
wanted() { [ ${#ONLY[@]} -eq 0 ] || [[ " ${ONLY[*]} " == *" $1 "* ]]; }

# ---------------------------------------------------------------- the machinery

source_clip() { # W H FPS -> path of a 5 s clip: test patterns, noise, tones; raw, so cheap to play
  local f=$WORK/src_$1x$2_${3//\//-}.nut
  [ -s "$f" ] || ffmpeg -hide_banner -loglevel error -nostdin -y \
    -f lavfi -i "testsrc2=size=$1x$2:rate=$3" \
    -f lavfi -i "mandelbrot=size=480x270:rate=$3:maxiter=300" \
    -f lavfi -i "sine=frequency=330:beep_factor=3:sample_rate=48000" \
    -filter_complex "[0][1]overlay=x='(W-w)/2*(1+0.9*sin(t*1.3))':y='(H-h)/2*(1+0.9*cos(t))',noise=alls=5:allf=t,format=yuv420p[v];[2]tremolo=f=2:d=0.6,pan=stereo|c0=c0|c1=0.5*c0[a]" \
    -map '[v]' -map '[a]' -t 5 -c:v rawvideo -pix_fmt bgra -c:a pcm_s16le "$f" || return 1
  echo "$f"
}

start_x() {
  Xvfb :93 -screen 0 1280x800x24 -nolisten tcp >"$WORK/xvfb.log" 2>&1 &
  PIDS+=($!); export DISPLAY=:93
  local n; for ((n = 0; n < 50; n++)); do [ -e /tmp/.X11-unix/X93 ] && return; sleep 0.1; done
}

start_nginx() {
  mkdir -p "$WORK/nginx"
  cat >"$WORK/nginx.conf" <<CONF
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
user root; daemon off; worker_processes 1;
pid $WORK/nginx/pid; error_log $WORK/nginx.log info;
events { worker_connections 64; }
rtmp { server { listen 127.0.0.1:$NGINX; chunk_size 4096;
  application live { live on; record off; allow publish 127.0.0.1; deny publish all; } } }
CONF
  nginx -p "$WORK/nginx" -c "$WORK/nginx.conf" >"$WORK/nginx.out" 2>&1 &
  PIDS+=($!); sleep 0.5
}

start_tap() { # OUTFILE UPSTREAM-PORT LIMIT [STALL]
  "$HERE/rtmp_tap.py" --listen 127.0.0.1:$TAP --upstream "127.0.0.1:$2" \
    --out "$1" --limit "$3" ${4:+--stall "$4"} >"$1.log" 2>&1 &
  TAP_PID=$!; PIDS+=("$TAP_PID")
  wait_line "$1.log" listening 10
}
end_tap() { # OUTFILE: wait for the tap's end, keep its log out of the outputs
  wait_exit "$TAP_PID" 20 || say "tap had to be ended"
  TAP_LINE=$(tail -1 "$1.log"); say "$TAP_LINE"; mv "$1.log" "$WORK/$(basename "$1").log"
}

obs_config() { # writes OBS's whole configuration from the variables of obs()
  local c=$WORK/home/obs-studio clip rescale=false CW=$((W / DIV)) CH=$((H / DIV))
  [ "$DIV" = 1 ] || rescale=true
  rm -rf "$c"; mkdir -p "$c/basic/profiles/cap" "$c/basic/scenes"
  clip=$(source_clip $CW $CH "$FPS/$FPSDEN") || exit 1
  cat >"$c/global.ini" <<CONF
[General]
FirstRun=true
LastVersion=486539266
EnableAutoUpdates=false
ConfirmOnExit=false
[Basic]
Profile=cap
ProfileDir=cap
SceneCollection=cap
SceneCollectionFile=cap
ConfigOnNewProfile=false
[BasicWindow]
SysTrayEnabled=false
PreviewEnabled=false
RecordWhenStreaming=false
[OBSWebSocket]
FirstLoad=false
ServerEnabled=true
ServerPort=$OBSWS
AuthRequired=false
AlertsEnabled=false
CONF
  cat >"$c/basic/profiles/cap/basic.ini" <<CONF
[General]
Name=cap
[Output]
Mode=Advanced
Reconnect=false
FilenameFormatting=rec
OverwriteIfExists=true
[AdvOut]
ApplyServiceSettings=false
Encoder=obs_x264
AudioEncoder=ffmpeg_aac
RecType=Standard
RecFilePath=$WORK/rec
RecFormat=flv
RecEncoder=obs_x264
RecAudioEncoder=ffmpeg_aac
RecTracks=1
FLVTrack=1
TrackIndex=1
Track1Bitrate=$AKBPS
Rescale=$rescale
RescaleRes=${W}x$H
RecRescale=$rescale
RecRescaleRes=${W}x$H
[Video]
BaseCX=$CW
BaseCY=$CH
OutputCX=$CW
OutputCY=$CH
FPSType=2
FPSNum=$FPS
FPSDen=$FPSDEN
ColorFormat=$COLOR
[Audio]
SampleRate=$ARATE
ChannelSetup=$ACH
CONF
  tee "$c/basic/profiles/cap/streamEncoder.json" >"$c/basic/profiles/cap/recordEncoder.json" <<CONF
{"rate_control":"$RC","bitrate":$KBPS,"crf":$CRF,"keyint_sec":$KEYINT,"preset":"$PRESET",
 "profile":"$PROFILE","tune":"$TUNE","x264opts":"$X264OPTS","use_bufsize":false}
CONF
  cat >"$c/basic/profiles/cap/service.json" <<CONF
{"type":"rtmp_custom","settings":{"server":"rtmp://127.0.0.1:$TAP/live","key":"$KEY","use_auth":false}}
CONF
  cat >"$c/basic/scenes/cap.json" <<CONF
{"name":"cap","current_scene":"Scene","current_program_scene":"Scene",
 "scene_order":[{"name":"Scene"}],"current_transition":"Cut","transition_duration":300,
 "sources":[
  {"id":"ffmpeg_source","versioned_id":"ffmpeg_source","name":"Clip","enabled":true,
   "mixers":255,"volume":1.0,"muted":$MUTED,
   "settings":{"local_file":"$clip","is_local_file":true,"looping":true,
               "restart_on_activate":false,"hw_decode":false,"clear_on_media_end":false}},
  {"id":"scene","versioned_id":"scene","name":"Scene","enabled":true,"mixers":0,
   "settings":{"id_counter":1,"custom_size":false,"items":[
     {"name":"Clip","id":1,"visible":true,"locked":false,"align":5,"rot":0.0,
      "pos":{"x":0.0,"y":0.0},"scale":{"x":1.0,"y":1.0},
      "bounds_type":2,"bounds_align":0,"bounds":{"x":$CW.0,"y":$CH.0}}]}}]}
CONF
}

ctl() { "$HERE/obs_ctl.py" --port $OBSWS "$@"; }

# obs NAME record|stream|kill SECONDS [VAR=VALUE...]
#   record  an .flv by OBS's own recording
#   stream  a wire capture of a complete session, stopped like a user stops it
#   kill    a wire capture that ends with OBS killed (SIGKILL) while it publishes
# Retried (up to TRIES times) while OBS reports more than MAXLAG % of its frames
# lagged or skipped; the last try is kept, and its counters go to the manifest.
obs() {
  wanted "$1" || return 0
  local try
  for ((try = 1; try <= ${TRIES:-3}; try++)); do
    obs_once "$@"
    [ "$LAG" -le "${MAXLAG:-12}" ] && return 0
  done
  say "$1: still $LAG % lagged or skipped frames, kept as it is"
}
obs_once() {
  local name=$1 kind=$2 secs=$3; shift 3
  local W=1280 H=720 FPS=30 FPSDEN=1 KBPS=2500 RC=CBR CRF=23 KEYINT=2 PRESET=veryfast PROFILE=high TUNE= \
        X264OPTS= AKBPS=160 ARATE=48000 ACH=Stereo MUTED=false KEY=obs-capture COLOR=NV12 DIV=2 STALL= "$@"
  local log=$WORK/$name.obs.log file
  # A stall only shows if the kernel does not hide it: small send buffers, in this
  # private namespace only, for this recording only.
  local wmem; wmem=$(cat /proc/sys/net/ipv4/tcp_wmem)
  [ -z "$STALL" ] || echo "4096 16384 32768" >/proc/sys/net/ipv4/tcp_wmem
  say "$name: OBS $kind, ${W}x$H at $FPS/$FPSDEN fps, $KBPS kbps, $secs s"
  mkdir -p -m 700 "$WORK/rec" "$WORK/home" "$WORK/run"; rm -f "$WORK"/rec/*
  obs_config
  if [ "$kind" != record ]; then
    file=$OUT/rtmp/$name.rtmpcap; start_tap "$file" $NGINX $((secs + 60)) "$STALL"
  else
    file=$OUT/flv/$name.flv
  fi
  HOME=$WORK/home XDG_CONFIG_HOME=$WORK/home XDG_RUNTIME_DIR=$WORK/run LIBGL_ALWAYS_SOFTWARE=1 \
    QT_QPA_PLATFORM=xcb /usr/bin/obs --multi --disable-updater --minimize-to-tray --profile cap \
    --collection cap >"$log" 2>&1 &
  local pid=$!; PIDS+=("$pid")
  ctl --wait 40 GetVersion >/dev/null || { shot "$name"; tail -5 "$log"; return 1; }
  sleep 3   # let the media source run steadily before the first frame counts
  local start=Stream; [ "$kind" = record ] && start=Record
  ctl "Start$start" >/dev/null
  local n; for ((n = 0; n < 100; n++)); do
    ctl "Get${start}Status" | grep -q '"outputActive": true' && break; sleep 0.1
  done
  sleep "$secs"
  ctl GetStats >"$WORK/$name.stats"
  if [ "$kind" = kill ]; then
    kill -9 "$pid"; wait "$pid" 2>/dev/null || true
  else
    ctl "Stop$start" >/dev/null
    for ((n = 0; n < 200; n++)); do
      ctl "Get${start}Status" | grep -q '"outputActive": false' && break; sleep 0.1
    done
    sleep 1
    kill -INT "$pid" 2>/dev/null || true
    wait_exit "$pid" 20 || say "$name: OBS did not end by itself"
  fi
  TAP_LINE=
  if [ "$kind" = record ]; then mv "$WORK"/rec/rec*.flv "$file"; else end_tap "$file"; fi
  "$HERE/captool.py" facts "$file" --encoder "OBS Studio $(obs_version "$log") (x264, FFmpeg AAC)" \
    --obs-log "$log" --obs-stats "$WORK/$name.stats" --tap "$TAP_LINE" \
    --set "mode=$kind" "size=${W}x$H" "fps=$FPS$([ "$FPSDEN" = 1 ] || echo "/$FPSDEN")" "video=H.264 $RC $([ "$RC" = CRF ] && echo "$CRF" || echo "$KBPS kbps"), x264 $PRESET${X264OPTS:+, $X264OPTS}${TUNE:+, tune $TUNE}, $PROFILE" \
    "gop=${KEYINT} s" "audio=AAC ${AKBPS} kbps, $ARATE Hz, $ACH$([ "$MUTED" = true ] && echo ', source muted')" \
    "how=obs $name $kind $secs $*"
  echo "$wmem" >/proc/sys/net/ipv4/tcp_wmem
  LAG=$("$HERE/captool.py" lag "$log" "$WORK/$name.stats")
}
obs_version() { sed -n 's/.*OBS \([0-9.]*\).*(linux).*/\1/p' "$1" | head -1; }
shot() { import -window root "$WORK/$1.png" 2>/dev/null || true; KEEP=1; say "$1: screenshot kept"; }


facts() { # FILE ENCODER SIZE FPS VIDEO GOP AUDIO HOW
  "$HERE/captool.py" facts "$1" --encoder "$2" --tap "${TAP_LINE:-}" --set "size=$3" "fps=$4" \
    "video=$5" "gop=$6" "audio=$7" "how=$8"
}

# ff NAME old|new flv|nginx SECONDS WxH FPS 'VIDEO ARGS' GOP-FRAMES 'AUDIO ARGS' [MORE ARGS...]
#   old = Debian's ffmpeg, new = the static one; flv = a file, nginx = a wire capture
#   of publishing to nginx-rtmp (which takes Enhanced RTMP's codecs as opaque bytes)
ff() {
  local name=$1 which=$2 dest=$3 secs=$4 size=$5 fps=$6 video=$7 gop=$8 audio=$9 bin=ffmpeg out file; shift 9
  wanted "$name" || return 0
  [ "$which" = new ] && bin=$FFNEW
  [ -n "$bin" ] || { say "$name: no newer ffmpeg (run with --install)"; return 0; }
  local clip; clip=$(source_clip "${size%x*}" "${size#*x}" "$fps/1")
  say "$name: ffmpeg ($which), $size at $fps fps, $video / $audio -> $dest"
  TAP_LINE=
  if [ "$dest" = flv ]; then
    file=$OUT/flv/$name.flv out=$file
  else
    file=$OUT/rtmp/$name.rtmpcap out=rtmp://127.0.0.1:$TAP/live/$name
    start_tap "$file" $NGINX $((secs * 4 + 60))
  fi
  # shellcheck disable=SC2086
  timeout $((secs * 4 + 40)) "$bin" -hide_banner -nostdin -y $([ "$dest" = flv ] || echo -re) -stream_loop -1 -i "$clip" \
    -t "$secs" -pix_fmt yuv420p $video -g "$gop" $audio "$@" -f flv "$out" >"$WORK/$name.log" 2>&1 \
    || { say "$name: ffmpeg ended with an error:"; tail -3 "$WORK/$name.log"; }
  [ "$dest" = flv ] || end_tap "$file"
  facts "$file" "FFmpeg $("$bin" -version | sed -n '1s/^ffmpeg version \([^ ]*\).*/\1/p')" "$size" "$fps" "$video" \
    "$gop frames" "$audio" "ff $name $which $dest $secs $size $fps '$video' $gop '$audio' $*"
}

# gst NAME rtmp2sink|rtmpsink SECONDS WxH FPS KBPS GOP-FRAMES BFRAMES AUDIO-KBPS
#   rtmpsink is GStreamer's librtmp sink, rtmp2sink its own implementation
gst() {
  local name=$1 sink=$2 secs=$3 size=$4 fps=$5 kbps=$6 gop=$7 bf=$8 akbps=$9
  wanted "$name" || return 0
  say "$name: GStreamer $sink, $size at $fps fps"
  start_tap "$OUT/rtmp/$name.rtmpcap" $NGINX $((secs * 4 + 60))
  timeout $((secs * 4 + 40)) gst-launch-1.0 -e \
    videotestsrc is-live=true pattern=ball num-buffers=$((secs * fps)) \
      ! "video/x-raw,format=I420,width=${size%x*},height=${size#*x},framerate=$fps/1" \
      ! x264enc bitrate="$kbps" key-int-max="$gop" bframes="$bf" speed-preset=superfast \
      ! h264parse ! queue ! mux. \
    audiotestsrc is-live=true wave=ticks samplesperbuffer=1024 num-buffers=$((secs * 44100 / 1024)) \
      ! audio/x-raw,rate=44100,channels=2 ! avenc_aac bitrate=$((akbps * 1000)) ! aacparse ! queue ! mux. \
    flvmux name=mux streamable=true ! "$sink" location="rtmp://127.0.0.1:$TAP/live/$name" \
    >"$WORK/$name.log" 2>&1 || { say "$name: gst-launch ended with an error:"; tail -3 "$WORK/$name.log"; }
  end_tap "$OUT/rtmp/$name.rtmpcap"
  facts "$OUT/rtmp/$name.rtmpcap" "GStreamer $(gst-launch-1.0 --version | sed -n 's/^GStreamer //p') $sink" "$size" "$fps" \
    "H.264 $kbps kbps, x264enc superfast, bframes=$bf" "$gop frames" "AAC $akbps kbps, 44100 Hz, avenc_aac" \
    "gst $name $sink $secs $size $fps $kbps $gop $bf $akbps"
}

# bad NAME FROM STEP...: a damaged or unusual copy of the recording FROM.flv, made
# by captool.py mangle (which documents the steps); always the same bytes.
bad() {
  local name=$1 from=$2; shift 2
  wanted "$name" || return 0
  say "$name: $from, $*"
  "$HERE/captool.py" mangle "$OUT/flv/$from.flv" "$OUT/flv/$name.flv" "$@"
  TAP_LINE=
  "$HERE/captool.py" facts "$OUT/flv/$name.flv" --encoder "captool.py mangle, from $from.flv" --set "how=bad $name $from $*"
}

# --------------------------------------------------------- the recordings

recordings() {
  # OBS, recorded to a file (OBS hands FLV files to FFmpeg's muxer)
  obs obs-720p30-cbr2500   record 7
  obs obs-1080p30-cbr4000  record 2 W=1920 H=1080 KBPS=4000 PRESET=superfast
  obs obs-1080p30-cbr6000  record 4 W=1920 H=1080 KBPS=6000 PRESET=superfast
  obs obs-720p30-keyint10  record 23 KBPS=800 KEYINT=10 "X264OPTS=scenecut=0"
  obs obs-360p30-zerolat   record 4 W=640 H=360 KBPS=500 TUNE=zerolatency AKBPS=96 DIV=1
  obs obs-360p30-muted     record 4 W=640 H=360 KBPS=400 MUTED=true AKBPS=64 DIV=1
  obs obs-360p30-base      record 3 W=640 H=360 KBPS=500 KEYINT=1 AKBPS=96 DIV=1
  # OBS, publishing by RTMP
  obs obs-publish-720p30   stream 7 KBPS=1800
  obs obs-publish-360p60   stream 5 W=640 H=360 FPS=60 KBPS=800 RC=CBR KEYINT=1 ARATE=44100 DIV=1
  obs obs-publish-killed   kill 5 W=640 H=360 KBPS=700 DIV=1
  obs obs-publish-stalled  stream 8 W=640 H=360 KBPS=800 DIV=1 STALL=2,4
  # other encoders, publishing by RTMP
  local x264="-c:v libx264 -preset veryfast -b:v 600k -maxrate 600k -bufsize 600k" aac="-c:a aac -b:a 96k -ar 44100"
  ff ffmpeg5-publish-360p30     old nginx 8 640x360 30 "$x264 -bf 2" 60 "$aac"
  ff ffmpeg5-publish-exttime    old nginx 6 640x360 30 "$x264 -bf 2" 30 "$aac" -output_ts_offset 16774.2
  ff ffmpeg5-publish-extdelta   old nginx 4 640x360 30 "$x264 -bf 2" 30 "$aac" -output_ts_offset 16800
  ff ffmpeg5-publish-audioonly  old nginx 6 640x360 30 -vn 60 "$aac"
  ff ffmpeg5-publish-videoonly  old nginx 4 640x360 30 "$x264 -bf 0 -tune zerolatency" 30 -an
  # sound that FFmpeg puts into FLV by its old number
  local x264s="-c:v libx264 -preset veryfast -b:v 250k -maxrate 250k -bufsize 250k"
  ff ffmpeg5-avc-mp3            old flv 4 320x180 30 "$x264s -bf 2" 30 "-c:a libmp3lame -b:a 64k -ar 44100"
  gst gst-rtmp2sink-360p30      rtmp2sink 8 640x360 30 500 60 2 96
  gst gst-librtmp-360p30        rtmpsink  8 640x360 30 500 60 0 96
  # Enhanced RTMP (the newer ffmpeg)
  local hevc="-c:v libx265 -preset ultrafast -x265-params log-level=error:bframes=2:pools=1 -b:v 400k"
  local av1="-c:v libsvtav1 -preset 12 -b:v 400k -svtav1-params lp=2"
  local vp9="-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 400k"
  local opus="-c:a libopus -b:a 64k -ar 48000"
  ff enh-hevc-aac      new flv 5 640x360 30 "$hevc" 60 "$aac"
  ff enh-av1-opus      new flv 5 640x360 30 "$av1" 60 "$opus"
  ff enh-vp9-aac       new flv 5 640x360 30 "$vp9" 60 "$aac"
  ff enh-avc-opus      new flv 4 640x360 30 "$x264 -bf 2" 60 "$opus"
  ff enh-avc-flac      new flv 4 320x180 30 "$x264s -bf 2" 30 "-c:a flac -ar 48000 -ac 1"
  ff enh-two-audio     new flv 4 640x360 30 "$x264 -bf 0" 60 "$aac" -map 0:v -map 0:a -map 0:a
  ff enh-publish-hevc  new nginx 6 640x360 30 "$hevc" 60 "$aac" -rtmp_enhanced_codecs hvc1,av01,vp09
  ff enh-publish-av1   new nginx 6 640x360 30 "$av1" 60 "$aac" -rtmp_enhanced_codecs hvc1,av01,vp09
  ff enh-publish-vp9   new nginx 6 640x360 30 "$vp9" 60 "$aac" -rtmp_enhanced_codecs hvc1,av01,vp09
  ff enh-publish-opus  new nginx 6 640x360 30 "$x264 -bf 2" 60 "$opus" -rtmp_enhanced_codecs avc1,Opus
  # damaged and unusual
  local b=obs-360p30-base
  bad bad-cut-in-body      $b cut-in-tag=120
  bad bad-cut-in-header    $b cut-in-header=90
  bad bad-cut-in-prevsize  $b cut-in-prevsize=100
  bad bad-prevsize-one     $b bad-prevsize=40
  bad bad-prevsize-zero    $b zero-prevsizes
  bad bad-garbage-between  $b garbage=50,37,1 garbage=140,400,2
  bad bad-datasize-long    $b bad-length=60,300
  bad odd-exttime-wrap     $b shift=16776000
  bad odd-time32-wrap      $b rewrap=3,0xFFFFFA00
  bad odd-time24-noext     $b shift=16776000 drop-ext
  bad odd-time-backwards   $b shift=9000 shift-from=80,-1500 shift-from=160,-4000
  bad odd-empty-and-dup    $b empty=30,9 empty=60,8 dup=80 swap=100 drop=130-134
}

[ -z "$SET" ] || . "$SET"
start_x
start_nginx
recordings
FFNEW=$FFNEW "$HERE/captool.py" manifest "$OUT"
