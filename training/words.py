"""The fixed vocabulary of the training questions: names, places, objects and common words."""

from __future__ import annotations

NAMES = (
    "Anna Ben Clara David Emma Felix Grace Henry Iris Jack Lena Mia Noah Oscar Paul Rosa".split()
)
PLACES = "kitchen garden office park library school garage bedroom cellar shop".split()
OBJECTS = "ball book key lamp cup coin hat box".split()
FRUITS = "apples pears coins books pens stamps eggs cards".split()

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = (
    "January February March April May June July August September October November December".split()
)
MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

WORDS = """
act age air ant arm art ash ask bad bag bat bed bee big bird bit boat body bone book boot bowl box
boy bread brick bridge bright bring broom brown brush bus cab cake calm camp candle cap car card
care cart cat chain chair chalk cheap cheese chess chief child city clay clean clear clock cloth
cloud coal coast coat coin cold color cook cool copper corn cotton couch cow crane cream crowd
crown cup curve dance dark day deep deer desk dish dog door draw dream dress drink drive drum duck
dust eagle ear early earth east easy egg elbow engine fact fair fall farm fast father fence field
film fine finger fire fish flag flame flat floor flour flower fog food foot forest fork fox frame
free fresh friend frog frost fruit game garden gate gift girl give glass globe gold good grain
grape grass green ground group guest guitar hair hall hammer hand happy hat head heart heavy help
hen hill hold home honey hook horse hotel house ice iron island jacket jar jelly job juice jump
kettle key kind king kite knee knife lake lamp land large late leaf left lemon letter life light
lion lip list long loud lunch map maple march market mask meat melon metal milk mill mind mint
mirror money moon morning mother motor mouse mouth music nail name neck nest net night noise north
nose note number nurse oak oil old olive onion open orange oven owl page paint pair palm paper park
path peach pear pen pencil pepper phone piano pilot pin pink pipe place plane plant plate plum
pocket point pond pony post potato pot prize pulp queen quick quiet rain ranch red rice rich ride
ring river road robin rock roof room root rope rose round royal sail salt sand scale school sea
seat seed shade shadow shape sharp sheep shelf shell ship shirt shoe shop short silk silver sing
sister sky sleep slow small smile smoke snow soap sock soft soil song soup south space spoon spring
stairs star steam steel stick stone store storm story straw street string strong sugar summer sun
sweet swim table tail tall tea ten tent thread tiger time tin tower town toy train tree truck true
tulip turtle valley van view violin voice wagon wall warm watch water wave wax week west wheat
wheel white wide wind window wine wing winter wise wolf wood wool word world yard year yellow young
zebra zoo
""".split()
